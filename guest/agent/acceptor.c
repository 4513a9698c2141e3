#define _GNU_SOURCE
#include "acceptor.h"

#include "address.h"
#include "agent.h"
#include "connection.h"
#include "loop.h"
#include "session.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define BACKLOG 128

struct acceptor {
  struct acceptor *next;
  struct session *session;
  uint32_t stream;
  struct watch watch;
  struct address at;
  bool told, waiting; /* a client may be waiting */
};

static struct acceptor *acceptors;

static void destroy(struct acceptor *a) {
  for (struct acceptor **at = &acceptors; *at; at = &(*at)->next)
    if (*at == a) {
      *at = a->next;
      break;
    }
  if (a->watch.fd >= 0 && a->at.any.sa_family == AF_UNIX) unlink(a->at.local.sun_path);
  loop_close(&a->watch);
  free(a);
}

static void client_comes(struct watch *w, uint32_t events) {
  struct acceptor *a = FROM(struct acceptor, watch, w);
  (void)events;
  a->waiting = true;
  session_wake(a->session);
}

static int start(struct acceptor *a) {
  int on = 1;
  int fd = socket(a->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int error = bind(fd, &a->at.any, a->at.length) < 0 ? -errno : 0;
  bool bound = !error;
  if (!error && listen(fd, BACKLOG) < 0) error = -errno;
  if (!error) error = loop_watch(&a->watch, fd, EPOLLIN, client_comes);
  /* Which port it is, when any would do. */
  if (!error && a->at.any.sa_family != AF_UNIX) getsockname(fd, &a->at.any, &a->at.length);
  if (!error) return 0;
  if (bound && a->at.any.sa_family == AF_UNIX) unlink(a->at.local.sun_path);
  close(fd);
  return error;
}

static const char *parse(struct acceptor *a, const struct frame *f) {
  struct field_reader r;
  struct field field;
  struct address found[2];
  const char *why = "LISTEN names no address";
  int count = 0;
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field)) {
    if (!field_once(&r, &field)) break;
    if (field.tag == FIELD_ADDRESS) count = address_parse(field.data, field.length, found, &why);
    else r.why = "LISTEN has an unknown field";
  }
  if (count > 0) a->at = found[0];
  return r.why ? r.why : count == 0 ? why : NULL;
}

int acceptor_open(struct session *session, const struct frame *f, const char **why) {
  struct acceptor *a = calloc(1, sizeof *a);
  if (!a) return -ENOMEM;
  a->session = session;
  a->stream = f->stream;
  a->watch.fd = -1;
  *why = parse(a, f);
  int error = *why ? -EINVAL : start(a);
  if (error) {
    free(a);
    return error;
  }
  a->next = acceptors;
  acceptors = a;
  return 0;
}

struct acceptor *acceptor_find(const struct session *session, uint32_t stream) {
  struct acceptor *a = acceptors;
  while (a && (a->session != session || a->stream != stream)) a = a->next;
  return a;
}

unsigned acceptor_streams(const struct session *session) {
  unsigned open = 0;
  for (struct acceptor *a = acceptors; a; a = a->next)
    if (a->session == session) open++;
  return open;
}

const char *acceptor_frame(struct acceptor *a, const struct frame *f, struct output *out) {
  struct field_writer none = {.length = 0};
  if (f->type != FRAME_CANCEL) return "a frame that belongs to no listener";
  if (f->length > 0) return "CANCEL has a payload";
  output_fields(out, FRAME_DONE, a->stream, &none);
  destroy(a);
  return NULL;
}

static void put_address(struct output *out, uint8_t type, uint32_t stream, uint32_t listener, const struct address *at) {
  struct field_writer w = {.length = 0};
  char text[ADDRESS_TEXT_MAX];
  address_format(at, text);
  if (listener) fields_put_integer(&w, FIELD_LISTENER, listener);
  fields_put_string(&w, FIELD_ADDRESS, text);
  output_fields(out, type, stream, &w);
}

/* Returns whether a connection was told to the host. */
static bool accept_one(struct acceptor *a, struct output *out) {
  struct session *s = a->session;
  struct address from = {.length = sizeof from.storage};
  if (connection_accepted(s) >= ACCEPTED_MAX || session_streams(s) >= STREAMS_MAX || output_free(out) < OUTPUT_ANSWER)
    return false;
  int fd = accept4(a->watch.fd, &from.any, &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    /* Out of descriptors or memory: they go on waiting. */
    if (errno == EAGAIN) a->waiting = false;
    return false;
  }
  uint32_t stream = s->last_accepted + 2;
  if (connection_adopt(s, stream, fd) < 0) return false;
  s->last_accepted = stream;
  put_address(out, FRAME_ACCEPTED, stream, a->stream, &from);
  return true;
}

bool acceptors_pump(struct session *session, struct output *out) {
  bool put = false;
  for (struct acceptor *a = acceptors; a; a = a->next) {
    if (a->session != session || output_free(out) < OUTPUT_ANSWER) continue;
    if (!a->told) {
      put_address(out, FRAME_STARTED, a->stream, 0, &a->at);
      a->told = put = true;
    }
    while (a->waiting && accept_one(a, out)) put = true;
  }
  return put;
}

void acceptors_abandon(const struct session *session) {
  struct acceptor *next;
  for (struct acceptor *a = acceptors; a; a = next) {
    next = a->next;
    if (a->session == session) destroy(a);
  }
}
