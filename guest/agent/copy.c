#include "copy.h"

#include "agent.h"
#include "cgroup.h"
#include "copy_request.h"
#include "pack.h"
#include "session.h"
#include "tar_read.h"
#include "unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_HEADER (FRAME_HEADER + 1u)
/* A data frame fills 64 KiB in all: a virtio-serial port takes writes in units of 32 KiB. */
#define DATA_MAX (65536u - DATA_HEADER)
/* What a host may have on the way in a PUT. Nothing of it is kept here: it is written as it comes. */
#define PUT_CREDIT (1u << 20)

struct put {
  struct tar_reader reader;
  struct unpack unpack;
  uint32_t credit; /* bytes the host may still send */
  uint32_t owed;   /* bytes taken, not yet given back as credit */
};

struct get {
  struct pack pack;
  uint64_t credit;
};

struct copy {
  struct copy *next;
  const struct session *session;
  uint32_t stream;
  struct put *put; /* one of these two */
  struct get *get;
};

static struct copy *copies;

static void destroy(struct copy *c) {
  for (struct copy **at = &copies; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      break;
    }
  if (c->put) unpack_end(&c->put->unpack);
  if (c->get) {
    if (c->get->pack.image) cgroup_freeze(false);
    pack_end(&c->get->pack);
  }
  free(c->put);
  free(c->get);
  free(c);
}

struct copy *copy_find(const struct session *session, uint32_t stream) {
  struct copy *c = copies;
  while (c && (c->session != session || c->stream != stream)) c = c->next;
  return c;
}

unsigned copy_streams(const struct session *session) {
  unsigned open = 0;
  for (struct copy *c = copies; c; c = c->next)
    if (c->session == session) open++;
  return open;
}

void copies_abandon(const struct session *session) {
  struct copy *next;
  for (struct copy *c = copies; c; c = next) {
    next = c->next;
    if (c->session == session) destroy(c);
  }
}

static int open_put(struct copy *c, const struct copy_request *request) {
  c->put = malloc(sizeof *c->put);
  if (!c->put) return -ENOMEM;
  tar_read_start(&c->put->reader);
  unpack_start(&c->put->unpack, request->path, request->top);
  c->put->credit = INPUT_CREDIT;
  /* The first credit is the protocol's; the rest of ours is given at once. */
  c->put->owed = PUT_CREDIT - INPUT_CREDIT;
  return 0;
}

static int open_get(struct copy *c, const struct copy_request *request, char *message, size_t size) {
  c->get = malloc(sizeof *c->get);
  if (!c->get) return -ENOMEM;
  c->get->credit = request->credit;
  /* What commands write meanwhile would be in the image in part. */
  if (request->image == 1) cgroup_freeze(true);
  int error = request->image == 1 ? pack_start_image(&c->get->pack)
                                  : pack_start(&c->get->pack, request->path, request->follow == 1);
  if (error) snprintf(message, size, "%s", c->get->pack.message);
  return error;
}

int copy_open(struct session *session, const struct frame *f, char *message, size_t size) {
  struct copy_request request;
  const char *why = copy_request_parse(&request, f);
  if (!why && copy_streams(session) >= COPIES_MAX) {
    snprintf(message, size, "too many copies at once");
    return -EAGAIN;
  }
  struct copy *c = why ? NULL : calloc(1, sizeof *c);
  int error = why ? -EINVAL : c ? 0 : -ENOMEM;
  snprintf(message, size, "%s", why ? why : strerror(ENOMEM));
  if (error) return error;
  c->session = session;
  c->stream = f->stream;
  c->next = copies;
  copies = c;
  error = f->type == FRAME_PUT ? open_put(c, &request) : open_get(c, &request, message, size);
  if (error) destroy(c);
  return error;
}

static void answer_error(struct copy *c, struct output *out, int error, const char *message) {
  output_error(out, c->stream, -error, message);
  destroy(c);
}

static void answer_done(struct copy *c, struct output *out, uint64_t entries, uint64_t bytes) {
  struct field_writer w = {.length = 0};
  fields_put_integer(&w, FIELD_ENTRIES, entries);
  fields_put_integer(&w, FIELD_BYTES, bytes);
  if (c->get && c->get->pack.skipped > 0) {
    fields_put_integer(&w, FIELD_SKIPPED, c->get->pack.skipped);
    fields_put_string(&w, FIELD_MESSAGE, c->get->pack.first_skipped);
  }
  output_fields(out, FRAME_DONE, c->stream, &w);
  destroy(c);
}

static void end_put(struct copy *c, struct output *out) {
  struct unpack *u = &c->put->unpack;
  if (!tar_read_complete(&c->put->reader)) {
    answer_error(c, out, -EINVAL, "the archive is cut short");
    return;
  }
  int error = unpack_end(u);
  if (error) answer_error(c, out, error, u->message);
  else answer_done(c, out, u->entries, u->bytes);
}

/* Works through a piece of the archive. Returns 0, or -errno with what is wrong in *why. */
static int unpack_piece(struct put *p, const uint8_t *data, size_t length, const char **why) {
  int error = 0;
  while (!error) {
    switch (tar_read(&p->reader, &data, &length)) {
    case TAR_MORE:
      return 0;
    case TAR_ENTRY:
      error = unpack_entry(&p->unpack, &p->reader.entry);
      break;
    case TAR_DATA:
      error = unpack_data(&p->unpack, p->reader.data, p->reader.data_length);
      break;
    case TAR_DONE:
      error = unpack_done(&p->unpack);
      break;
    case TAR_BAD:
      *why = p->reader.why;
      return -EINVAL;
    }
  }
  *why = p->unpack.message;
  return error;
}

static const char *take_data(struct copy *c, const struct frame *f, struct output *out) {
  struct put *p = c->put;
  if (!p || f->length < 1 || f->payload[0] != 0) return "DATA for a channel that takes none";
  uint32_t length = f->length - 1;
  const char *why = NULL;
  if (length == 0) {
    end_put(c, out);
    return NULL;
  }
  if (length > p->credit) return "DATA beyond the credit";
  p->credit -= length;
  p->owed += length;
  int error = unpack_piece(p, f->payload + 1, length, &why);
  if (error) answer_error(c, out, error, why);
  return NULL;
}

static const char *take_credit(struct copy *c, const struct frame *f) {
  if (!c->get || f->length != 5 || f->payload[0] != 1) return "CREDIT is malformed";
  uint32_t more = get_u32(f->payload + 1);
  if (c->get->credit > UINT64_MAX - more) return "CREDIT overflows";
  c->get->credit += more;
  return NULL;
}

const char *copy_frame(struct copy *c, const struct frame *f, struct output *out) {
  switch (f->type) {
  case FRAME_DATA:
    return take_data(c, f, out);
  case FRAME_CREDIT:
    return take_credit(c, f);
  case FRAME_CANCEL:
    if (f->length > 0) return "CANCEL has a payload";
    answer_error(c, out, -ECANCELED, "the copy was cancelled");
    return NULL;
  default:
    return "a frame that belongs to no copy";
  }
}

static bool give_credit(struct copy *c, struct output *out) {
  struct put *p = c->put;
  if (p->owed < PUT_CREDIT / 4 || output_free(out) < OUTPUT_ANSWER) return false;
  output_credit(out, c->stream, 0, p->owed);
  p->credit += p->owed;
  p->owed = 0;
  return true;
}

static void put_end_of_file(struct copy *c, struct output *out) {
  uint8_t channel = 1;
  output_frame(out, FRAME_DATA, c->stream, &channel, 1);
  answer_done(c, out, c->get->pack.entries, c->get->pack.bytes);
}

/* One frame of the archive, read straight into the output. */
static bool send_data(struct copy *c, struct output *out) {
  struct get *g = c->get;
  if (g->credit == 0 || output_free(out) < DATA_HEADER + DATA_MAX + OUTPUT_RESERVE) return false;
  size_t most = g->credit < DATA_MAX ? (size_t)g->credit : DATA_MAX;
  uint8_t *at = output_place(out, DATA_HEADER + most);
  ssize_t n = pack_read(&g->pack, at + DATA_HEADER, most);
  if (n < 0) {
    answer_error(c, out, (int)n, g->pack.message);
  } else if (n == 0) {
    put_end_of_file(c, out);
  } else {
    frame_header(at, FRAME_DATA, c->stream, (uint32_t)n + 1);
    at[FRAME_HEADER] = 1;
    output_filled(out, DATA_HEADER + (size_t)n);
    g->credit -= (uint64_t)n;
  }
  return true;
}

bool copies_pump(const struct session *session, struct output *out) {
  bool put = false;
  struct copy *next;
  for (struct copy *c = copies; c; c = next) {
    next = c->next;
    if (c->session != session) continue;
    if (c->put ? give_credit(c, out) : send_data(c, out)) put = true;
  }
  return put;
}
