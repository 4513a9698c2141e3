#include "channel.h"

#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define ROUNDS 16         /* rounds of one channel before the others, and new events, get their turn */
#define SETTLE_MS 1000    /* a session younger than this may see the hang-up of the client before it */
#define VERIFY_MS 100

static struct channel *channels;

static void channel_free(struct channel *c) {
  for (struct channel **at = &channels; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      break;
    }
  struct listener *listener = c->listener;
  loop_close(&c->watch);
  deadline_clear(&c->verify);
  session_close(&c->session);
  free(c);
  if (listener) listener_freed(listener);
}

static void ready(struct watch *w, uint32_t events) {
  struct channel *c = FROM(struct channel, watch, w);
  c->readable = c->writable = true;
  c->hung_up = events & (EPOLLHUP | EPOLLERR);
  c->session.dirty = true;
}

struct channel *channel_open(int fd, struct listener *listener) {
  struct channel *c = calloc(1, sizeof *c);
  if (c && session_open(&c->session) == 0) {
    if (loop_watch(&c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, ready) == 0) {
      c->listener = listener;
      c->session.dirty = true;
      c->readable = c->writable = true;
      c->next = channels;
      channels = c;
      return c;
    }
    session_close(&c->session);
  }
  free(c);
  close(fd);
  return NULL;
}

static void verify(struct deadline *d) {
  struct channel *c = FROM(struct channel, verify, d);
  struct pollfd ask = {.fd = c->watch.fd, .events = POLLIN};
  if (poll(&ask, 1, 0) == 1 && ask.revents & POLLHUP) session_end(&c->session);
}

/* A port's host is not connected. The kernel learns of connections by another way than data takes, so a preface can
   overtake the hang-up of the client before: a young session gets a second look. */
static void port_hung_up(struct channel *c) {
  struct session *s = &c->session;
  if (s->state != SESSION_NONE && loop_now() - s->since < SETTLE_MS) {
    if (c->verify.at == 0) deadline_set(&c->verify, VERIFY_MS, verify);
    return;
  }
  if (s->state != SESSION_NONE) session_end(s);
}

/* Reads what there is. Returns false when the channel is no more. */
static bool take_in(struct channel *c, bool *moved) {
  while (c->readable) {
    uint8_t *at;
    size_t room = framer_room(&c->session.in, &at);
    if (room == 0) {
      /* Full, so the session waits for the host to read; a host that hung up never will. */
      if (c->hung_up && c->listener) return false;
      if (c->hung_up) port_hung_up(c);
      return true;
    }
    ssize_t n = read(c->watch.fd, at, room);
    if (n > 0) {
      framer_filled(&c->session.in, (size_t)n);
      *moved = true;
      /* Serve it before reading on: latency counts more than a fuller buffer. */
      return true;
    }
    if (n < 0 && errno == EINTR) continue;
    c->readable = false;
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0 || c->listener) return false;
    port_hung_up(c);
  }
  return true;
}

static ssize_t put(struct channel *c, const uint8_t *data, size_t length) {
  return c->listener ? send(c->watch.fd, data, length, MSG_NOSIGNAL) : write(c->watch.fd, data, length);
}

/* Writes what waits. Returns false when the channel is no more. */
static bool put_out(struct channel *c, bool *moved) {
  struct output *o = &c->session.out;
  while (c->writable && o->head < o->tail) {
    ssize_t n = put(c, o->buf + o->head, o->tail - o->head);
    if (n > 0) {
      o->head += (size_t)n;
      *moved = true;
    } else if (n < 0 && errno == EAGAIN) {
      c->writable = false;
    } else if (n == 0 || errno != EINTR) {
      return false;
    }
  }
  if (o->head == o->tail) o->head = o->tail = 0;
  return true;
}

static void pump(struct channel *c) {
  bool moved = true;
  for (int i = 0; i < ROUNDS && moved; i++) {
    moved = false;
    c->session.dirty = false;
    bool alive = take_in(c, &moved);
    if (session_pump(&c->session)) moved = true;
    if (!put_out(c, &moved) || !alive) {
      channel_free(c);
      return;
    }
  }
  if (moved) c->session.dirty = true;
}

bool channels_pump(void) {
  struct channel *next;
  for (struct channel *c = channels; c; c = next) {
    next = c->next;
    if (c->session.dirty) pump(c);
  }
  for (struct channel *c = channels; c; c = c->next)
    if (c->session.dirty) return true;
  return false;
}

void channels_wake(void) {
  for (struct channel *c = channels; c; c = c->next) c->session.dirty = true;
}

void channels_event(const char *event) {
  for (struct channel *c = channels; c; c = c->next) {
    session_event(&c->session, event, NULL);
    c->session.dirty = true;
  }
}

bool channels_flushed(void) {
  for (struct channel *c = channels; c; c = c->next)
    if (c->session.state == SESSION_OPEN && c->session.out.head < c->session.out.tail) return false;
  return true;
}

void channels_close(void) {
  while (channels) channel_free(channels);
}
