#include "session.h"

#include "acceptor.h"
#include "agent.h"
#include "connection.h"
#include "copy.h"
#include "identity.h"
#include "loop.h"
#include "process.h"
#include "requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int session_open(struct session *s) {
  memset(s, 0, sizeof *s);
  uint8_t *in = malloc(FRAMER_SIZE), *out = malloc(OUTPUT_SIZE);
  if (!in || !out) {
    free(in);
    free(out);
    return -ENOMEM;
  }
  framer_reset(&s->in, in);
  s->out.buf = out;
  return 0;
}

void session_close(struct session *s) {
  session_end(s);
  processes_forget(s);
  free(s->in.buf);
  free(s->out.buf);
  s->in.buf = s->out.buf = NULL;
}

unsigned session_streams(const struct session *s) {
  return process_streams(s) + copy_streams(s) + connection_streams(s) + acceptor_streams(s);
}

void session_wake(struct session *s) { s->dirty = true; }

static void end_processes(struct session *s) {
  s->state = SESSION_NONE;
  s->hello = false;
  s->last_stream = s->last_accepted = 0;
  processes_abandon(s);
  copies_abandon(s);
  acceptors_abandon(s);
  connections_abandon(s);
}

void session_end(struct session *s) {
  end_processes(s);
  framer_scan(&s->in);
  s->out.head = s->out.tail = 0;
}

void session_event(struct session *s, const char *event, const char *message) {
  struct field_writer w = {.length = 0};
  if (s->state != SESSION_OPEN || output_free(&s->out) < OUTPUT_ANSWER) return;
  fields_put_string(&w, FIELD_EVENT, event);
  if (message) fields_put_string(&w, FIELD_MESSAGE, message);
  output_fields(&s->out, FRAME_EVENT, 0, &w);
}

static void protocol_error(struct session *s, int error, const char *why) {
  output_error(&s->out, 0, error, why);
  end_processes(s);
  s->in.scanning = true;
}

static void begin(struct session *s) {
  struct field_writer w = {.length = 0};
  memcpy(output_place(&s->out, PREFACE_SIZE), s->in.preface, PREFACE_SIZE);
  output_filled(&s->out, PREFACE_SIZE);
  fields_put_integer(&w, FIELD_VERSION, PROTOCOL_VERSION);
  fields_put_string(&w, FIELD_FEATURES, identity_features());
  fields_put_string(&w, FIELD_AGENT, AGENT_VERSION);
  fields_put_string(&w, FIELD_BOOT_ID, identity_boot_id());
  output_fields(&s->out, FRAME_HELLO, 0, &w);
  s->state = SESSION_OPEN;
}

static void take_preface(struct session *s) {
  end_processes(s);
  /* What the former client hasn't fetched, the new one would only drop. */
  s->out.head = s->out.tail = 0;
  s->state = SESSION_CLEARING;
  s->since = loop_now();
}

static void take_hello(struct session *s, const struct frame *f) {
  struct field_reader r;
  struct field field;
  uint64_t version = 0;
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field))
    if (field.tag == FIELD_VERSION && !(field_once(&r, &field) && field_integer(&r, &field, UINT32_MAX, &version))) break;
  if (r.why) protocol_error(s, EPROTO, r.why);
  else if (version != PROTOCOL_VERSION) protocol_error(s, EPROTONOSUPPORT, "this agent speaks version 1");
  else s->hello = true;
}

static void take_frame(struct session *s, const struct frame *f) {
  const char *why = NULL;
  if (f->type == FRAME_HELLO) {
    if (s->hello || f->stream != 0) protocol_error(s, EPROTO, "HELLO at a wrong place");
    else take_hello(s, f);
    return;
  }
  if (!s->hello) why = "the first frame is not HELLO";
  else if (f->type == FRAME_ERROR && f->stream == 0) session_end(s);
  else why = request_serve(s, f);
  if (why) protocol_error(s, EPROTO, why);
}

/* Whether the next frame can be served: an answer must fit, and the guest must be set up. */
static bool can_take(const struct session *s) {
  if (output_free(&s->out) < OUTPUT_ANSWER) return false;
  return s->state == SESSION_NONE || (s->state == SESSION_OPEN && agent.ready);
}

static bool parse(struct session *s) {
  bool took = false;
  while (can_take(s)) {
    struct frame f;
    enum framer_result result = framer_next(&s->in, &f);
    if (result == FRAMER_MORE) break;
    took = true;
    if (result == FRAMER_PREFACE) take_preface(s);
    else if (result == FRAMER_BAD) protocol_error(s, EPROTO, s->in.why);
    else take_frame(s, &f);
    if (s->state == SESSION_CLEARING) break;
  }
  return took;
}

/* What sends without end must not keep all of the room for itself: each kind is the first one in turn. */
static bool pump_streams(struct session *s) {
  bool moved = false;
  s->turn++;
  for (unsigned i = 0; i < 3; i++) {
    unsigned kind = (s->turn + i) % 3;
    if (kind == 0 && processes_pump(s, &s->out)) moved = true;
    if (kind == 1 && copies_pump(s, &s->out)) moved = true;
    if (kind == 2 && connections_pump(s, &s->out)) moved = true;
  }
  return acceptors_pump(s, &s->out) || moved;
}

bool session_pump(struct session *s) {
  bool moved = parse(s);
  if (s->state == SESSION_CLEARING && !processes_hold(s)) {
    begin(s);
    moved = true;
  }
  return s->state == SESSION_OPEN && pump_streams(s) ? true : moved;
}
