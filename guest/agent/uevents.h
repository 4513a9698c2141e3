/* Devices as the kernel tells of them: their drivers are loaded, and what we wait for ourselves is opened. */
#ifndef POLYVISOR_UEVENTS_H
#define POLYVISOR_UEVENTS_H

/* Listens from now on. */
void uevents_watch(void);

/* Loads the drivers of devices that were there before we listened, and of those that come with them. */
void uevents_catch_up(void);

#endif
