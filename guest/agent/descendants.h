/* Finds the children and descendants of a process in /proc. */
#ifndef POLYVISOR_DESCENDANTS_H
#define POLYVISOR_DESCENDANTS_H

#include <stdbool.h>
#include <sys/types.h>

/* Calls `act` on every child of `parent`. */
void children_each(pid_t parent, bool (*act)(pid_t, void *), void *arg);

/* Calls `act` on every descendant of `root`, as seen in one pass over /proc. */
void descendants_each(pid_t root, bool (*act)(pid_t, void *), void *arg);

#endif
