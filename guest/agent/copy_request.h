/* The fields of PUT and GET, checked. */
#ifndef POLYVISOR_COPY_REQUEST_H
#define POLYVISOR_COPY_REQUEST_H

#include "frame.h"
#include "tar.h"

struct copy_request {
  char path[TAR_NAME_MAX];
  char top[256];   /* PUT; empty: not given */
  uint64_t follow; /* GET */
  uint64_t credit; /* GET */
  uint64_t image;  /* GET: of the root file system as an image has it; the path is / then */
};

/* Returns NULL, or what is wrong with the payload. */
const char *copy_request_parse(struct copy_request *out, const struct frame *f);

#endif
