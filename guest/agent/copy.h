/* PUT and GET: the streams of a session over which files go into the guest and out of it, as tar archives. */
#ifndef POLYVISOR_COPY_H
#define POLYVISOR_COPY_H

#include "frame.h"
#include "output.h"

#include <stdbool.h>

/* Copies that one session may have open: each holds up to 256 open folders and 270 KiB. */
#define COPIES_MAX 16

struct session;
struct copy;

/* Serves a PUT or a GET. Returns 0; or -errno with a message, and the stream isn't opened. */
int copy_open(struct session *session, const struct frame *f, char *message, size_t size);

struct copy *copy_find(const struct session *session, uint32_t stream);
unsigned copy_streams(const struct session *session);

/* Serves a frame of an open copy, which it may end. A protocol error is returned as its description, else NULL. */
const char *copy_frame(struct copy *c, const struct frame *f, struct output *out);

/* Moves what can be moved for one session. Returns whether it put anything out. */
bool copies_pump(const struct session *session, struct output *out);

/* The session is over: its copies end where they are, and no file that isn't whole is left. */
void copies_abandon(const struct session *session);

#endif
