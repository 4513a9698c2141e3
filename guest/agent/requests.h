/* The frames of an open session: which process they are for, and requests that are answered at once. */
#ifndef POLYVISOR_REQUESTS_H
#define POLYVISOR_REQUESTS_H

#include "session.h"

/* Serves one frame. Returns NULL, or the description of a protocol error. */
const char *request_serve(struct session *s, const struct frame *f);

#endif
