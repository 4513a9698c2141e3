/* The first tasks of PID 1. */
#ifndef POLYVISOR_INIT_H
#define POLYVISOR_INIT_H

/* Mounts what every program expects and makes stdio the console. Dies when that is impossible. */
void init_mounts(void);

/* Loads the modules and opens the channels as soon as they are there; then everything else. */
void init_devices(void);

#endif
