#define _GNU_SOURCE
#include "process_io.h"

#include "agent.h"
#include "pty.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

#define LARGE_BYTES 32768 /* at once: of a program that writes more than an ordinary pipe is made for */
#define PIPE_BYTES (1 << 20)
#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static void wake(struct process *p) {
  if (p->session) session_wake(p->session);
}

static void input_ready(struct watch *w, uint32_t events) {
  (void)events;
  wake(FROM(struct process, input_watch, w));
}

static void stdout_ready(struct watch *w, uint32_t events) {
  struct process *p = FROM(struct process, output[0].watch, w);
  (void)events;
  p->output[0].readable = true;
  wake(p);
}

static void stderr_ready(struct watch *w, uint32_t events) {
  struct process *p = FROM(struct process, output[1].watch, w);
  (void)events;
  p->output[1].readable = true;
  wake(p);
}

int process_open_pipes(struct process *p, const struct spawned *s) {
  int error = 0, failed;
  if (s->input >= 0) {
    error = loop_watch(&p->input_watch, s->input, EPOLLOUT, input_ready);
    if (error) close(s->input);
    p->input.fd = p->input_watch.fd;
  }
  for (int i = 0; i < 2; i++) {
    if (s->output[i] < 0) continue;
    failed = loop_watch(&p->output[i].watch, s->output[i], EPOLLIN, i == 0 ? stdout_ready : stderr_ready);
    if (failed) close(s->output[i]);
    if (failed) error = failed;
    p->output[i].open = p->output[i].readable = !failed;
  }
  return error;
}

static void close_input(struct process *p) {
  inflow_close(&p->input);
  loop_close(&p->input_watch);
}

static void close_output(struct process_output *o) {
  loop_close(&o->watch);
  o->open = o->readable = false;
}

void process_close_pipes(struct process *p) {
  close_input(p);
  close_output(&p->output[0]);
  close_output(&p->output[1]);
}

/* End of file, once all has been taken: a pipe is closed; a terminal in line mode gets its end-of-file character. */
static void end_input(struct process *p) {
  if (p->pty) {
    int c = pty_end_of_file(p->input.fd);
    uint8_t byte = (uint8_t)c;
    if (c > 0) (void)!write(p->input.fd, &byte, 1);
  }
  close_input(p);
}

const char *process_data(struct process *p, const struct frame *f) { return inflow_data(&p->input, f); }

const char *process_credit(struct process *p, const struct frame *f) {
  if (f->length != 5 || f->payload[0] < 1 || f->payload[0] > 2) return "CREDIT is malformed";
  struct process_output *o = &p->output[f->payload[0] - 1];
  uint32_t more = get_u32(f->payload + 1);
  if (o->credit > UINT64_MAX - more) return "CREDIT overflows";
  o->credit += more;
  return NULL;
}

bool process_move_input(struct process *p, struct output *out) {
  inflow_move(&p->input);
  if (p->input.fd >= 0 && inflow_done(&p->input)) end_input(p);
  if (p->input.fd < 0) close_input(p);
  return inflow_give_credit(&p->input, p->stream, out);
}

static bool put_end(struct process *p, int i, struct output *out) {
  uint8_t channel = (uint8_t)(i + 1);
  output_frame(out, FRAME_DATA, p->stream, &channel, 1);
  close_output(&p->output[i]);
  return true;
}

/* Whether nothing more will come, asked without reading: end of file needs no credit. */
static bool at_end(const struct process *p, const struct process_output *o) {
  struct pollfd ask = {.fd = o->watch.fd, .events = POLLIN};
  if (poll(&ask, 1, 0) < 0 || ask.revents & POLLIN) return false;
  return ask.revents & POLLHUP || p->tree.gone;
}

/* A large pipe saves switches between writer and agent, and lets the writer go on; an ordinary user's may not grow, which is as well. */
static void enlarge(struct process *p, int i) {
  if (i != 0 || p->output[i].large) return;
  fcntl(p->output[i].watch.fd, F_SETPIPE_SZ, PIPE_BYTES);
  p->output[i].large = true;
}

static bool move_channel(struct process *p, int i, struct output *out) {
  struct process_output *o = &p->output[i];
  if (!o->open || !o->readable || !output_takes_data(out)) return false;
  if (o->credit == 0) return at_end(p, o) && put_end(p, i, out);
  ssize_t n = output_read(out, p->stream, (uint8_t)(i + 1), o->watch.fd, o->credit);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) {
    o->readable = false;
    return p->tree.gone ? put_end(p, i, out) : false;
  }
  /* A terminal's master answers EIO when the last one has closed the other side. */
  if (n <= 0) return put_end(p, i, out);
  o->credit -= (uint64_t)n;
  if (o->credit == 0 || (size_t)n >= LARGE_BYTES) enlarge(p, i);
  return true;
}

bool process_move_output(struct process *p, struct output *out) {
  bool first = move_channel(p, 0, out);
  return move_channel(p, 1, out) || first;
}

bool process_has_output(const struct process *p) { return p->output[0].open || p->output[1].open; }

void process_tree_gone(struct process *p) {
  for (int i = 0; i < 2; i++)
    if (p->output[i].open) p->output[i].readable = true;
}
