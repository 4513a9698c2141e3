/* SPAWN's fields, checked and made ready for execve. */
#ifndef POLYVISOR_SPAWN_REQUEST_H
#define POLYVISOR_SPAWN_REQUEST_H

#include "cgroup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spawn_request {
  char **argv;
  char **env; /* the host's K=V only */
  size_t arg_count, env_count;
  const char *cwd, *user; /* NULL: not given */
  bool pty, input, detach;
  uint16_t rows, cols;
  uint64_t timeout_ms, credit;
  struct limits limits;
  void *memory;
};

/* Returns NULL, or what is wrong with the payload. Free it either way. */
const char *spawn_request_parse(struct spawn_request *out, const uint8_t *payload, size_t length);
void spawn_request_free(struct spawn_request *r);

#endif
