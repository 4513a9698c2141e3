/* LISTEN: sockets in the guest whose connections go to the host, each as a stream that the agent opens. */
#ifndef POLYVISOR_ACCEPTOR_H
#define POLYVISOR_ACCEPTOR_H

#include "frame.h"
#include "output.h"

#include <stdbool.h>

/* Connections that a session may have accepted and still open: a busy server must leave streams for all else. */
#define ACCEPTED_MAX 128

struct session;
struct acceptor;

/* Serves a LISTEN. Returns 0; or -errno with why, and the stream isn't opened. */
int acceptor_open(struct session *session, const struct frame *f, const char **why);

struct acceptor *acceptor_find(const struct session *session, uint32_t stream);
unsigned acceptor_streams(const struct session *session);

/* Serves a frame of an open listener, which it may end. A protocol error is returned as its description, else NULL. */
const char *acceptor_frame(struct acceptor *a, const struct frame *f, struct output *out);

/* Accepts what waits. Returns whether it put anything out. */
bool acceptors_pump(struct session *session, struct output *out);

/* The session is over: its listeners are closed. */
void acceptors_abandon(const struct session *session);

#endif
