/* One host's conversation over one channel: preface, requests, answers. */
#ifndef POLYVISOR_SESSION_H
#define POLYVISOR_SESSION_H

#include "frame.h"
#include "output.h"

#include <stdbool.h>
#include <stdint.h>

enum session_state {
  SESSION_NONE,     /* waiting for a preface */
  SESSION_CLEARING, /* preface came; the former session's processes are being ended */
  SESSION_OPEN,
};

struct session {
  enum session_state state;
  bool hello; /* the host's HELLO came */
  bool dirty; /* something may have to be moved */
  int64_t since; /* when the preface came, by loop_now */
  uint32_t last_stream;   /* the host's newest id */
  uint32_t last_accepted; /* the agent's own */
  unsigned turn; /* which kind of stream is the next to put data out */
  struct framer in;
  struct output out;
};

/* Empty, waiting for a preface. Returns 0 or -ENOMEM. */
int session_open(struct session *s);
void session_close(struct session *s);

/* Something about a process changed: session_pump is to be called soon. */
void session_wake(struct session *s);

/* Streams that are open. */
unsigned session_streams(const struct session *s);

/* Parses what came in and moves what can be moved. Returns whether anything was put out. */
bool session_pump(struct session *s);

/* The host is gone, or broke the protocol: ends the session's processes and waits for a preface. */
void session_end(struct session *s);

/* Tells the host, if there is room: a word of event. */
void session_event(struct session *s, const char *event, const char *message);

#endif
