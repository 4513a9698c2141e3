#include "requests.h"

#include "acceptor.h"
#include "agent.h"
#include "connection.h"
#include "copy.h"
#include "info.h"
#include "online.h"
#include "power.h"
#include "process.h"
#include "reserve.h"
#include "sync.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PING_MAX 64u
#define SIGNAL_MAX 64u

/* A request opens a stream: odd, and higher than all before, so that no id is used twice. */
static const char *open_stream(struct session *s, const struct frame *f) {
  if (f->stream % 2 == 0) return "a host's stream id must be odd";
  if (f->stream <= s->last_stream) return "a stream id is used twice";
  s->last_stream = f->stream;
  return NULL;
}

static void answer(struct session *s, uint32_t stream, int error, const char *why, const struct field_writer *done) {
  if (error) output_error(&s->out, stream, -error, why ? why : strerror(-error));
  else output_fields(&s->out, FRAME_DONE, stream, done);
}

static void serve_spawn(struct session *s, const struct frame *f) {
  char message[1024];
  int error = process_spawn(s, f->stream, f->payload, f->length, message, sizeof message);
  if (error) output_error(&s->out, f->stream, -error, message);
}

static void serve_copy(struct session *s, const struct frame *f) {
  char message[1024];
  int error = copy_open(s, f, message, sizeof message);
  if (error) output_error(&s->out, f->stream, -error, message);
}

static void serve_sync(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  const char *why = NULL;
  int error = sync_serve(f->payload, f->length, &why);
  answer(s, f->stream, error, why, &done);
}

static void serve_info(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  if (f->length == 0) info_fill(&done);
  answer(s, f->stream, f->length == 0 ? 0 : -EINVAL, "INFO takes no fields", &done);
}

static void serve_dial(struct session *s, const struct frame *f) {
  const char *why = NULL;
  int error = f->type == FRAME_DIAL ? connection_dial(s, f, &why) : acceptor_open(s, f, &why);
  if (error) output_error(&s->out, f->stream, -error, why ? why : strerror(-error));
}

static void serve_online(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  const char *why = "ONLINE takes no fields";
  int error = f->length == 0 ? online_all(&done, &why) : -EINVAL;
  answer(s, f->stream, error, why, &done);
}

static void serve_rescan(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  int error = f->length == 0 ? online_rescan() : -EINVAL;
  answer(s, f->stream, error, f->length == 0 ? "the PCI bus can't be scanned" : "RESCAN takes no fields", &done);
}

static void serve_poweroff(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  struct field_reader r;
  struct field field;
  uint64_t mode = POWER_OFF;
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field)) {
    if (field.tag != FIELD_MODE) r.why = "POWEROFF has an unknown field";
    else if (field_once(&r, &field)) field_integer(&r, &field, POWER_HALT, &mode);
  }
  answer(s, f->stream, r.why ? -EINVAL : 0, r.why, &done);
  if (!r.why) power_down((enum power_mode)mode);
}

static void serve_prepare(struct session *s, const struct frame *f) {
  struct field_writer done = {.length = 0};
  int error = f->length == 0 ? reserve_make() : -EINVAL;
  answer(s, f->stream, error, f->length == 0 ? NULL : "PREPARE takes no fields", &done);
}

static const char *serve_request(struct session *s, const struct frame *f) {
  const char *why = open_stream(s, f);
  if (why) return why;
  bool stays_open = f->type < FRAME_SYNC_STATE;
  if (stays_open && session_streams(s) >= STREAMS_MAX) {
    output_error(&s->out, f->stream, EAGAIN, "too many open streams");
    return NULL;
  }
  switch (f->type) {
  case FRAME_SPAWN:
    serve_spawn(s, f);
    break;
  case FRAME_PUT:
  case FRAME_GET:
    serve_copy(s, f);
    break;
  case FRAME_DIAL:
  case FRAME_LISTEN:
    serve_dial(s, f);
    break;
  case FRAME_SYNC_STATE:
    serve_sync(s, f);
    break;
  case FRAME_ONLINE:
    serve_online(s, f);
    break;
  case FRAME_RESCAN:
    serve_rescan(s, f);
    break;
  case FRAME_INFO:
    serve_info(s, f);
    break;
  case FRAME_POWEROFF:
    serve_poweroff(s, f);
    break;
  case FRAME_PREPARE:
    serve_prepare(s, f);
    break;
  default:
    output_error(&s->out, f->stream, ENOSYS, "this agent has no such request");
  }
  return NULL;
}

struct signal_fields {
  uint64_t signal, tree, rows, cols;
};

static const char *read_signal(const struct frame *f, struct signal_fields *out) {
  struct field_reader r;
  struct field field;
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field)) {
    bool resize = f->type == FRAME_RESIZE;
    if (!field_once(&r, &field)) break;
    if (!resize && field.tag == FIELD_SIGNAL) field_integer(&r, &field, SIGNAL_MAX, &out->signal);
    else if (!resize && field.tag == FIELD_TREE) field_integer(&r, &field, 1, &out->tree);
    else if (resize && field.tag == FIELD_ROWS) field_integer(&r, &field, UINT16_MAX, &out->rows);
    else if (resize && field.tag == FIELD_COLS) field_integer(&r, &field, UINT16_MAX, &out->cols);
    else r.why = "a frame has an unknown field";
  }
  if (!r.why && f->type == FRAME_SIGNAL && out->signal == 0) return "SIGNAL names no signal";
  return r.why;
}

static const char *serve_process(struct process *p, const struct frame *f) {
  struct signal_fields fields = {0};
  const char *why = NULL;
  switch (f->type) {
  case FRAME_DATA:
    return process_data(p, f);
  case FRAME_CREDIT:
    return process_credit(p, f);
  case FRAME_CANCEL:
    if (f->length > 0) return "CANCEL has a payload";
    process_cancel(p);
    return NULL;
  case FRAME_SIGNAL:
    why = read_signal(f, &fields);
    /* A process that has just ended can't be signalled: its EXIT says so. */
    if (!why) process_signal(p, (int)fields.signal, fields.tree == 1);
    return why;
  case FRAME_RESIZE:
    why = read_signal(f, &fields);
    if (!why) process_resize(p, (uint16_t)fields.rows, (uint16_t)fields.cols);
    return why;
  default:
    return "a frame that belongs to no process";
  }
}

const char *request_serve(struct session *s, const struct frame *f) {
  if (f->type == FRAME_PING) {
    if (f->stream != 0 || f->length > PING_MAX) return "PING is malformed";
    output_frame(&s->out, FRAME_PONG, 0, f->payload, f->length);
    return NULL;
  }
  if (f->type == FRAME_SPAWN || f->type >= FRAME_PUT) return serve_request(s, f);
  /* A frame for a stream that has ended may have crossed its end; one that never was is an error. */
  uint32_t newest = f->stream % 2 == 0 ? s->last_accepted : s->last_stream;
  if (f->stream == 0 || f->stream > newest) return "a frame for a stream that is not open";
  struct copy *c = copy_find(s, f->stream);
  if (c) return copy_frame(c, f, &s->out);
  struct connection *n = connection_find(s, f->stream);
  if (n) return connection_frame(n, f, &s->out);
  struct acceptor *a = acceptor_find(s, f->stream);
  if (a) return acceptor_frame(a, f, &s->out);
  struct process *p = process_find(s, f->stream);
  return p ? serve_process(p, f) : NULL;
}
