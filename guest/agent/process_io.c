#include "process_io.h"

#include "agent.h"
#include "pty.h"
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define DATA_HEADER (FRAME_HEADER + 1u)
/* A data frame fills 64 KiB in all: a virtio-serial port takes writes in units of 32 KiB. */
#define DATA_MAX (65536u - DATA_HEADER)
/* Give credit back in pieces of this size, or when the host has none left to go on with. */
#define CREDIT_STEP (INPUT_CREDIT / 4)

static void wake(struct process *p) {
  if (p->session) session_wake(p->session);
}

static void input_ready(struct watch *w, uint32_t events) {
  (void)events;
  wake(FROM(struct process, input.watch, w));
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
    error = loop_watch(&p->input.watch, s->input, EPOLLOUT, input_ready);
    if (error) close(s->input);
    p->input.open = !error;
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
  loop_close(&p->input.watch);
  p->input.open = false;
  p->input.owed += p->input.length;
  p->input.length = 0;
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

/* Writes from `data`; returns how much was taken. A reader that is gone takes everything. */
static size_t write_some(struct process *p, const uint8_t *data, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(p->input.watch.fd, data + done, length - done);
    if (n > 0) done += (size_t)n;
    else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && errno == EAGAIN) return done;
    else {
      close_input(p);
      return length;
    }
  }
  return done;
}

/* End of file, once all has been taken: a pipe is closed; a terminal in line mode gets its end-of-file character. */
static void end_input(struct process *p) {
  if (p->pty) {
    int c = pty_end_of_file(p->input.watch.fd);
    uint8_t byte = (uint8_t)c;
    if (c > 0) (void)!write(p->input.watch.fd, &byte, 1);
  }
  close_input(p);
}

const char *process_data(struct process *p, const struct frame *f) {
  struct process_input *in = &p->input;
  if (f->length < 1 || f->payload[0] != 0) return "DATA for a channel that takes none";
  const uint8_t *data = f->payload + 1;
  uint32_t length = f->length - 1;
  if (length == 0) {
    in->ended = true;
    if (in->open && in->length == 0) end_input(p);
    return NULL;
  }
  if (in->ended) return "DATA after the end of file";
  if (length > in->credit) return "DATA beyond the credit";
  in->credit -= length;
  if (!in->open) {
    in->owed += length;
    return NULL;
  }
  size_t done = in->length == 0 ? write_some(p, data, length) : 0;
  in->owed += (uint32_t)done;
  if (done == length) return NULL;
  if (!in->pending) in->pending = malloc(INPUT_CREDIT);
  if (!in->pending) {
    close_input(p);
    return NULL;
  }
  /* What waits is within the credit, so it fits once it starts at 0. */
  if (in->start > 0) memmove(in->pending, in->pending + in->start, in->length);
  in->start = 0;
  memcpy(in->pending + in->length, data + done, length - done);
  in->length += length - (uint32_t)done;
  return NULL;
}

const char *process_credit(struct process *p, const struct frame *f) {
  if (f->length != 5 || f->payload[0] < 1 || f->payload[0] > 2) return "CREDIT is malformed";
  struct process_output *o = &p->output[f->payload[0] - 1];
  uint32_t more = get_u32(f->payload + 1);
  if (o->credit > UINT64_MAX - more) return "CREDIT overflows";
  o->credit += more;
  return NULL;
}

bool process_move_input(struct process *p, struct output *out) {
  struct process_input *in = &p->input;
  if (in->open && in->length > 0) {
    uint32_t waiting = in->length;
    size_t done = write_some(p, in->pending + in->start, waiting);
    if (in->open) {
      in->start += (uint32_t)done;
      in->length -= (uint32_t)done;
      in->owed += (uint32_t)done;
      if (in->length == 0) in->start = 0;
    }
  }
  if (in->open && in->ended && in->length == 0) end_input(p);
  if (in->ended || in->owed < CREDIT_STEP || output_free(out) < OUTPUT_ANSWER) return false;
  output_credit(out, p->stream, 0, in->owed);
  in->credit += in->owed;
  in->owed = 0;
  return true;
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

static bool move_channel(struct process *p, int i, struct output *out) {
  struct process_output *o = &p->output[i];
  size_t room = output_free(out);
  if (!o->open || !o->readable || room < DATA_HEADER + DATA_MAX + OUTPUT_RESERVE) return false;
  if (o->credit == 0) return at_end(p, o) && put_end(p, i, out);
  size_t most = o->credit < DATA_MAX ? (size_t)o->credit : DATA_MAX;
  uint8_t *at = output_place(out, DATA_HEADER + most);
  ssize_t n = read(o->watch.fd, at + DATA_HEADER, most);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) {
    o->readable = false;
    return p->tree.gone ? put_end(p, i, out) : false;
  }
  /* A terminal's master answers EIO when the last one has closed the other side. */
  if (n <= 0) return put_end(p, i, out);
  frame_header(at, FRAME_DATA, p->stream, (uint32_t)n + 1);
  at[FRAME_HEADER] = (uint8_t)(i + 1);
  output_filled(out, DATA_HEADER + (size_t)n);
  o->credit -= (uint64_t)n;
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
