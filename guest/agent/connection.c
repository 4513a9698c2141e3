#define _GNU_SOURCE
#include "connection.h"

#include "address.h"
#include "agent.h"
#include "inflow.h"
#include "loop.h"
#include "session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct connection {
  struct connection *next;
  struct session *session;
  uint32_t stream;
  struct watch watch;
  struct address to[2]; /* still to be tried */
  int tries;
  bool connected, told; /* the host knows that it is connected */
  bool readable, hung_up;
  bool read_ended;  /* the program will send nothing more */
  bool wrote_ended; /* the program was told that the host will send nothing more */
  int failure;      /* errno; the stream ends with it */
  struct inflow input;
  uint64_t credit; /* of channel 1 */
};

/* In the order in which they get their turn. */
static struct connection *connections;

static void unlink_connection(struct connection *c) {
  for (struct connection **at = &connections; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      return;
    }
}

static void append(struct connection *c) {
  struct connection **at = &connections;
  while (*at) at = &(*at)->next;
  c->next = NULL;
  *at = c;
}

static void destroy(struct connection *c) {
  unlink_connection(c);
  loop_close(&c->watch);
  free(c->input.pending);
  free(c);
}

static void ready(struct watch *w, uint32_t events) {
  struct connection *c = FROM(struct connection, watch, w);
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = true;
  if (events & (EPOLLHUP | EPOLLERR)) c->hung_up = true;
  session_wake(c->session);
}

static struct connection *make(struct session *session, uint32_t stream) {
  struct connection *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->session = session;
  c->stream = stream;
  c->watch.fd = c->input.fd = -1;
  c->input.credit = INPUT_CREDIT;
  c->credit = OUTPUT_CREDIT;
  append(c);
  return c;
}

static void connected(struct connection *c) {
  int on = 1;
  c->connected = c->readable = true;
  c->input.fd = c->watch.fd;
  /* The host's side waits for full packets, if anybody is to. Fails for a unix socket. */
  setsockopt(c->watch.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Begins to connect to the next address. Returns 0 or -errno. */
static int try_next(struct connection *c) {
  struct address *a = &c->to[0];
  int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int error = connect(fd, &a->any, a->length) < 0 ? -errno : 0;
  c->to[0] = c->to[1];
  c->tries--;
  if (error && error != -EINPROGRESS) {
    close(fd);
    return error;
  }
  c->hung_up = false;
  int failed = loop_watch(&c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, ready);
  if (failed) close(fd);
  else if (!error) connected(c);
  return failed;
}

static int try_all(struct connection *c) {
  int error;
  do error = try_next(c);
  while (error && c->tries > 0);
  return error;
}

/* TCP connects to itself when it draws the very port it connects to, where nobody listens. */
static bool is_itself(int fd, const struct sockaddr_storage *peer) {
  struct sockaddr_storage own = {0};
  socklen_t size = sizeof own;
  if (peer->ss_family == AF_UNIX || getsockname(fd, (struct sockaddr *)&own, &size) < 0) return false;
  return memcmp(&own, peer, size) == 0;
}

/* What has become of an attempt to connect. */
static void check_attempt(struct connection *c) {
  int error = 0;
  struct sockaddr_storage peer = {0};
  socklen_t size = sizeof error, peer_size = sizeof peer;
  if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  if (!error && getpeername(c->watch.fd, (struct sockaddr *)&peer, &peer_size) < 0) return; /* not decided yet */
  if (!error && is_itself(c->watch.fd, &peer)) error = ECONNREFUSED;
  if (!error) {
    connected(c);
    return;
  }
  loop_close(&c->watch);
  error = c->tries > 0 ? try_all(c) : -error;
  if (error) c->failure = -error;
}

static const char *parse_dial(struct connection *c, const struct frame *f) {
  struct field_reader r;
  struct field field;
  const char *why = "DIAL names no address";
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field)) {
    if (!field_once(&r, &field)) break;
    if (field.tag == FIELD_ADDRESS) c->tries = address_parse(field.data, field.length, c->to, &why);
    else if (field.tag == FIELD_CREDIT) field_integer(&r, &field, INT64_MAX, &c->credit);
    else r.why = "DIAL has an unknown field";
  }
  return r.why ? r.why : c->tries == 0 ? why : NULL;
}

int connection_dial(struct session *session, const struct frame *f, const char **why) {
  struct connection *c = make(session, f->stream);
  if (!c) return -ENOMEM;
  *why = parse_dial(c, f);
  int error = *why ? -EINVAL : try_all(c);
  if (error) destroy(c);
  return error;
}

int connection_adopt(struct session *session, uint32_t stream, int fd) {
  struct connection *c = make(session, stream);
  int error = c ? loop_watch(&c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, ready) : -ENOMEM;
  if (error) {
    if (c) destroy(c);
    close(fd);
    return error;
  }
  connected(c);
  c->told = true;
  return 0;
}

struct connection *connection_find(const struct session *session, uint32_t stream) {
  struct connection *c = connections;
  while (c && (c->session != session || c->stream != stream)) c = c->next;
  return c;
}

unsigned connection_streams(const struct session *session) {
  unsigned open = 0;
  for (struct connection *c = connections; c; c = c->next)
    if (c->session == session) open++;
  return open;
}

unsigned connection_accepted(const struct session *session) {
  unsigned open = 0;
  for (struct connection *c = connections; c; c = c->next)
    if (c->session == session && c->stream % 2 == 0) open++;
  return open;
}

static const char *add_credit(struct connection *c, const struct frame *f) {
  if (f->length != 5 || f->payload[0] != 1) return "CREDIT is malformed";
  uint32_t more = get_u32(f->payload + 1);
  if (c->credit > UINT64_MAX - more) return "CREDIT overflows";
  c->credit += more;
  return NULL;
}

const char *connection_frame(struct connection *c, const struct frame *f, struct output *out) {
  struct field_writer none = {.length = 0};
  switch (f->type) {
  case FRAME_DATA:
    return c->told ? inflow_data(&c->input, f) : "DATA before the connection is made";
  case FRAME_CREDIT:
    return add_credit(c, f);
  case FRAME_CANCEL:
    if (f->length > 0) return "CANCEL has a payload";
    output_fields(out, FRAME_DONE, c->stream, &none);
    destroy(c);
    return NULL;
  default:
    return "a frame that belongs to no connection";
  }
}

static void move_input(struct connection *c) {
  inflow_move(&c->input);
  if (c->wrote_ended || !inflow_done(&c->input)) return;
  c->wrote_ended = true;
  if (c->input.fd >= 0) shutdown(c->input.fd, SHUT_WR);
  inflow_close(&c->input);
}

static bool move_output(struct connection *c, struct output *out) {
  if (c->read_ended || !c->readable || !output_takes_data(out)) return false;
  /* Without credit the end of file is still to be told. */
  uint8_t byte;
  ssize_t n = c->credit > 0 ? output_read(out, c->stream, 1, c->watch.fd, c->credit)
                            : recv(c->watch.fd, &byte, 1, MSG_PEEK);
  if (n < 0 && errno == EINTR) return true;
  if (n > 0 && c->credit == 0) return false;
  if (n > 0) {
    c->credit -= (uint64_t)n;
    return true;
  }
  c->readable = false;
  if (n < 0 && errno == EAGAIN) return false;
  c->read_ended = true;
  if (n < 0) {
    c->failure = errno;
    return false;
  }
  byte = 1;
  output_frame(out, FRAME_DATA, c->stream, &byte, 1);
  return true;
}

/* STARTED, or the stream's end, when it is time and there is room. Returns whether one was put; then it may be gone. */
static bool put_life(struct connection *c, struct output *out) {
  struct field_writer none = {.length = 0};
  if (output_free(out) < OUTPUT_ANSWER) return false;
  if (c->connected && !c->told) {
    output_fields(out, FRAME_STARTED, c->stream, &none);
    c->told = true;
    return true;
  }
  /* Nothing comes any more, and nothing can go. */
  bool over = c->read_ended && (c->wrote_ended || c->input.fd < 0 || c->hung_up);
  if (!c->failure && !over) return false;
  if (c->failure) output_error(out, c->stream, c->failure, strerror(c->failure));
  else output_fields(out, FRAME_DONE, c->stream, &none);
  destroy(c);
  return true;
}

static bool pump(struct connection *c, struct output *out) {
  if (!c->connected && !c->failure && c->watch.fd >= 0) check_attempt(c);
  bool put = false;
  if (c->told) {
    move_input(c);
    put = inflow_give_credit(&c->input, c->stream, out);
    if (move_output(c, out)) put = true;
  }
  return put_life(c, out) || put;
}

bool connections_pump(const struct session *session, struct output *out) {
  bool put = false;
  struct connection *next, *last = NULL;
  for (struct connection *c = connections; c && c != last; c = next) {
    next = c->next;
    if (c->session != session) continue;
    uint32_t stream = c->stream;
    if (!pump(c, out)) continue;
    put = true;
    /* To the end: when there is no room for all, the others are first the next time. */
    c = connection_find(session, stream);
    if (!c) continue;
    if (!last) last = c;
    unlink_connection(c);
    append(c);
  }
  return put;
}

void connections_abandon(const struct session *session) {
  struct connection *next;
  for (struct connection *c = connections; c; c = next) {
    next = c->next;
    if (c->session == session) destroy(c);
  }
}
