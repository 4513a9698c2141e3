/* The event loop: one epoll set with a callback per descriptor, and deadlines. */
#ifndef POLYVISOR_LOOP_H
#define POLYVISOR_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
  int fd; /* -1: not watched */
  void (*ready)(struct watch *w, uint32_t events);
};

struct deadline {
  int64_t at; /* milliseconds of loop_now; 0: not set */
  void (*due)(struct deadline *d);
  struct deadline *next;
};

void loop_open(void);

/* Watches `fd` from now on. All watches are edge-triggered. Returns 0 or -errno; then `w->fd` is -1. */
int loop_watch(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t));

/* Forgets and closes the descriptor, if there is one. No event of it is delivered any more. */
void loop_close(struct watch *w);

void deadline_set(struct deadline *d, int64_t after_ms, void (*due)(struct deadline *));
void deadline_clear(struct deadline *d);

/* Milliseconds of the monotonic clock. */
int64_t loop_now(void);

/* Waits for events (not at all with `wait` false) and runs their callbacks. */
void loop_turn(bool wait);

#endif
