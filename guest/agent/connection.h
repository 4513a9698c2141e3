/* DIAL and ACCEPTED: streams of a session that are a connection to a program in the guest, bytes both ways. */
#ifndef POLYVISOR_CONNECTION_H
#define POLYVISOR_CONNECTION_H

#include "frame.h"
#include "output.h"

#include <stdbool.h>
#include <stdint.h>

struct session;
struct connection;

/* Serves a DIAL. Returns 0; or -errno with why, and the stream isn't opened. */
int connection_dial(struct session *session, const struct frame *f, const char **why);

/* Serves a connection that has been accepted as a stream. Returns 0, or -errno with `fd` closed. */
int connection_adopt(struct session *session, uint32_t stream, int fd);

struct connection *connection_find(const struct session *session, uint32_t stream);
unsigned connection_streams(const struct session *session);
/* Of these, those whose stream the agent opened. */
unsigned connection_accepted(const struct session *session);

/* Serves a frame of an open connection, which it may end. A protocol error is returned as its description, else NULL. */
const char *connection_frame(struct connection *c, const struct frame *f, struct output *out);

/* Moves what can be moved for one session. Returns whether it put anything out. */
bool connections_pump(const struct session *session, struct output *out);

/* The session is over: its connections are closed. */
void connections_abandon(const struct session *session);

#endif
