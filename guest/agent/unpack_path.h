/* Where an archive's entries go: the target by cp's rules, and the way down to each name without following links. */
#ifndef POLYVISOR_UNPACK_PATH_H
#define POLYVISOR_UNPACK_PATH_H

#include "unpack.h"

/* Finds out, with the first entry, what the target is. Returns 0 or -errno with a message. */
int unpack_place(struct unpack *u, const struct tar_entry *first);

/* Goes to the folder that holds the name and leaves its last part in `leaf` (empty: the target itself). Returns 0 or -errno with a message. */
int unpack_go_to(struct unpack *u, const char *name, char *leaf);

/* Opens the folder that holds a name, beside the way that unpack_go_to has gone. Returns its descriptor or -errno. */
int unpack_find(struct unpack *u, const char *name, char *leaf);

/* Goes into a folder: its descriptor is the level's from now on. Returns the level, or NULL when there are too many. */
struct unpack_level *unpack_enter(struct unpack *u, int folder, const char *name);

/* Leaves the innermost folder. Returns 0 or -errno with a message. */
int unpack_leave(struct unpack *u);

/* Notes what failed with which name, and returns the error. */
int unpack_fail(struct unpack *u, const char *name, int error, const char *why);

/* Owner, mode and time for what was made: by its descriptor, or (a link) by its name in a folder. Returns 0 or -errno. */
int unpack_attributes(int folder, const char *name, const struct tar_entry *e);

#endif
