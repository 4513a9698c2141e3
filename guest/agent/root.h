/* The user's disk image as the root of everything that runs. */
#ifndef POLYVISOR_ROOT_H
#define POLYVISOR_ROOT_H

#include <stdbool.h>

/* If the kernel's command line says `polyvisor.root=/dev/NAME` (and `polyvisor.rootfstype=TYPE`, default ext4): waits for
   that device, mounts it read-only with a writable layer in memory over it, and makes that `/`. Dies if it can't. */
void root_enter(void);

/* What is `/` now is an image's, by other means than root_enter. */
void root_entered(void);

/* The guest's name has changed: what an image lacks of /etc/hosts, /etc/hostname and /etc/resolv.conf is supplied. Does nothing
   without an image as root. */
void root_name(const char *name);

/* Whether a file is one that was supplied. */
bool root_supplied(const char *path);

#endif
