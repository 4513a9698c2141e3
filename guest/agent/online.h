/* ONLINE and RESCAN: processors and memory that were plugged are taken into use, PCI devices looked for. */
#ifndef POLYVISOR_ONLINE_H
#define POLYVISOR_ONLINE_H

#include "fields.h"

/* From now on the kernel takes new memory into use by itself: virtio-mem waits for that between two pieces. */
void online_by_itself(void);

/* Brings every CPU and every memory block online, and writes down how many there are then. Returns 0, or -errno with
   what failed. In host mode it only counts. */
int online_all(struct field_writer *done, const char **why);

/* Has the kernel look for PCI devices. Returns 0 or -errno. Does nothing in host mode. */
int online_rescan(void);

#endif
