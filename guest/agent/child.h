/* The child's side of a spawn: between fork and execve. */
#ifndef POLYVISOR_CHILD_H
#define POLYVISOR_CHILD_H

#include "spawn_request.h"
#include "users.h"

#include <stdnoreturn.h>

struct child {
  const struct spawn_request *request;
  const struct user *user;
  char **env;       /* complete */
  const char *path; /* PATH of that environment */
  const char *cwd;
  int stdio[3]; /* with a terminal all three are its slave */
  int report;   /* a struct spawn_failure is written here; closed by execve */
};

/* The first part of child_run, in which only `stdio`, `report` and the request's `pty` count: all that is the same for every program. */
void child_prepare(const struct child *c);
/* The rest of it. */
noreturn void child_become(const struct child *c);

/* Becomes the program, or reports why not and exits. A `void *` so that it can be tree_start's child. */
void child_run(void *child);

#endif
