/* Where there is no cgroup v2: a small process of ours between the agent and each tree. It is the tree's subreaper, so
   that whatever daemonizes falls to it, and it ends the tree when the agent says so, or is no more. */
#ifndef POLYVISOR_SUPERVISOR_H
#define POLYVISOR_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tree;

enum supervisor_kind {
  SUPERVISOR_PID,        /* to the agent: the first process' pid */
  SUPERVISOR_ENDED,      /* to the agent: its wait status */
  SUPERVISOR_KILL,       /* from the agent: end all */
  SUPERVISOR_SIGNAL,     /* from the agent: a signal to the first process */
  SUPERVISOR_SIGNAL_ALL, /* from the agent: a signal to all */
};

/* One message of the control socket, which keeps the bounds of messages. */
struct supervisor_report {
  int32_t kind, value;
};

/* Starts a supervisor and in it `child(arg)`. Returns 0 or -errno. The control socket's end of file: all have ended. */
int supervisor_start(bool keep_rest, void (*child)(void *), void *arg, pid_t *supervisor, int *control);

int supervisor_tell(int control, enum supervisor_kind kind, int value);

/* Ends children of the agent that are no supervisors: what is left of trees whose supervisor was killed. */
void supervisor_strays(const struct tree *trees);

#endif
