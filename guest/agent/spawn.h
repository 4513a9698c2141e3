/* From a request to a running program: what the parent prepares and what the child does until execve. */
#ifndef POLYVISOR_SPAWN_H
#define POLYVISOR_SPAWN_H

#include "spawn_request.h"
#include "tree.h"
#include "users.h"

#include <stdbool.h>

/* What went wrong in a child before its program ran. */
enum spawn_stage {
  SPAWN_STAGE_TERMINAL = 1,
  SPAWN_STAGE_USER,
  SPAWN_STAGE_CWD,
  SPAWN_STAGE_EXEC,
};

struct spawn_failure {
  int stage, error;
};

/* The parent's ends, all non-blocking; -1 where there is none. */
struct spawned {
  int input, output[2];
  int report; /* end of file: the program runs; else a struct spawn_failure. -1: what would come has come, as `failure` */
  struct spawn_failure failure; /* error 0: the program runs */
};

/* Starts the tree. Returns 0 or -errno, then with a message. */
int spawn(const struct spawn_request *request, struct tree *tree, void (*changed)(struct tree *), struct spawned *out,
          char *message, size_t size);

/* The message for a failure the child reported. */
void spawn_explain(const struct spawn_failure *f, const char *program, const char *cwd, char *message, size_t size);

#endif
