/* The disk on which a guest keeps what it writes to its root. */
#ifndef POLYVISOR_SCRATCH_H
#define POLYVISOR_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the disk with the ext4 file system of a UUID, as text: each VMM names and numbers its disks in another way. Puts its path. */
bool scratch_find(const char *uuid, char *path, size_t size);

#endif
