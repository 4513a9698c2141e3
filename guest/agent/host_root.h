/* A folder of the host as the root of everything that an agent in host mode runs. */
#ifndef POLYVISOR_HOST_ROOT_H
#define POLYVISOR_HOST_ROOT_H

/* Makes a folder `/`, in a mount namespace of this process' own, with the host's /dev, /proc and /sys in it; an ordinary user's is in a user
   namespace, as root of which alone he appears there. Dies if it can't. */
void host_root_enter(const char *folder);

#endif
