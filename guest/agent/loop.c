#include "loop.h"

#include "console.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

static int epoll_fd = -1;
static struct epoll_event batch[BATCH];
static int batch_count;
static struct deadline *deadlines;

void loop_open(void) {
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) console_die("epoll_create1", errno);
}

int loop_watch(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t)) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = w};
  w->ready = ready;
  w->fd = -1;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) return -errno;
  w->fd = fd;
  return 0;
}

void loop_close(struct watch *w) {
  if (w->fd < 0) return;
  epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
  close(w->fd);
  w->fd = -1;
  for (int i = 0; i < batch_count; i++)
    if (batch[i].data.ptr == w) batch[i].data.ptr = NULL;
}

int64_t loop_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void deadline_clear(struct deadline *d) {
  if (d->at == 0) return;
  d->at = 0;
  for (struct deadline **p = &deadlines; *p; p = &(*p)->next)
    if (*p == d) {
      *p = d->next;
      return;
    }
}

void deadline_set(struct deadline *d, int64_t after_ms, void (*due)(struct deadline *)) {
  deadline_clear(d);
  d->at = loop_now() + after_ms;
  d->due = due;
  d->next = deadlines;
  deadlines = d;
}

static int until_next_deadline(void) {
  if (!deadlines) return -1;
  int64_t first = INT64_MAX;
  for (struct deadline *d = deadlines; d; d = d->next)
    if (d->at < first) first = d->at;
  int64_t left = first - loop_now();
  return left <= 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static void run_deadlines(void) {
  if (!deadlines) return;
  int64_t now = loop_now();
  /* A callback may set or clear any deadline: start over after each. */
  for (struct deadline *d = deadlines; d;) {
    if (d->at > now) {
      d = d->next;
      continue;
    }
    deadline_clear(d);
    d->due(d);
    d = deadlines;
  }
}

void loop_turn(bool wait) {
  int count = epoll_wait(epoll_fd, batch, BATCH, wait ? until_next_deadline() : 0);
  if (count < 0 && errno != EINTR) console_die("epoll_wait", errno);
  batch_count = count < 0 ? 0 : count;
  for (int i = 0; i < batch_count; i++) {
    struct watch *w = batch[i].data.ptr;
    if (w) w->ready(w, batch[i].events);
  }
  batch_count = 0;
  run_deadlines();
}
