/* The environment of a new process: the host's words over the defaults PATH, HOME, USER and TERM. */
#ifndef POLYVISOR_ENVIRONMENT_H
#define POLYVISOR_ENVIRONMENT_H

#include "spawn_request.h"
#include "users.h"

/* One block of memory (free it), or NULL without memory. A name given twice: the later word counts. */
char **environment_make(const struct spawn_request *request, const struct user *user);

/* The value of a name, or "". */
const char *environment_get(char *const *env, const char *name);

#endif
