/* A process that waits for its program: past clone and setsid, in its cgroup, with its pipes. A guest that is saved with one starts the first
   command of each clone sooner. */
#ifndef POLYVISOR_RESERVE_H
#define POLYVISOR_RESERVE_H

#include "child.h"
#include "spawn.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes one, unless there is one. Returns 0 or -errno: EOPNOTSUPP without cgroups. */
int reserve_make(void);

/* Has it become `child`, of which `stdio` and `report` don't count: a command of root's without terminal or limits. Returns when that has
   happened or has failed, as `out` tells. False when it can't, or when there is none; then there is none any more, since what another command
   does must not meet it. */
bool reserve_start(struct child *child, pid_t *pid, uint32_t *id, int *group, struct spawned *out);

/* A child has been reaped. Returns whether it was this one, which somebody has killed. */
bool reserve_reaped(pid_t pid);

#endif
