#include "inflow.h"

#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Give credit back in pieces of this size, or when the host has none left to go on with. */
#define CREDIT_STEP (INPUT_CREDIT / 4)

void inflow_close(struct inflow *in) {
  in->fd = -1;
  in->owed += in->length;
  in->length = 0;
}

/* Writes from `data`; returns how much was taken. A reader that is gone takes everything. */
static size_t write_some(struct inflow *in, const uint8_t *data, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(in->fd, data + done, length - done);
    if (n > 0) done += (size_t)n;
    else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && errno == EAGAIN) return done;
    else {
      inflow_close(in);
      return length;
    }
  }
  return done;
}

const char *inflow_data(struct inflow *in, const struct frame *f) {
  if (f->length < 1 || f->payload[0] != 0) return "DATA for a channel that takes none";
  const uint8_t *data = f->payload + 1;
  uint32_t length = f->length - 1;
  if (length == 0) {
    in->ended = true;
    return NULL;
  }
  if (in->ended) return "DATA after the end of file";
  if (length > in->credit) return "DATA beyond the credit";
  in->credit -= length;
  size_t done = in->fd < 0 ? length : in->length > 0 ? 0 : write_some(in, data, length);
  in->owed += (uint32_t)done;
  if (done == length) return NULL;
  if (!in->pending) in->pending = malloc(INPUT_CREDIT);
  if (!in->pending) {
    in->owed += length - (uint32_t)done;
    inflow_close(in);
    return NULL;
  }
  /* What waits is within the credit, so it fits once it starts at 0. */
  if (in->start > 0) memmove(in->pending, in->pending + in->start, in->length);
  in->start = 0;
  memcpy(in->pending + in->length, data + done, length - done);
  in->length += length - (uint32_t)done;
  return NULL;
}

void inflow_move(struct inflow *in) {
  if (in->fd < 0 || in->length == 0) return;
  size_t done = write_some(in, in->pending + in->start, in->length);
  if (in->fd < 0) return;
  in->start += (uint32_t)done;
  in->length -= (uint32_t)done;
  in->owed += (uint32_t)done;
  if (in->length == 0) in->start = 0;
}

bool inflow_done(const struct inflow *in) { return in->ended && in->length == 0; }

bool inflow_give_credit(struct inflow *in, uint32_t stream, struct output *out) {
  if (in->ended || in->owed < CREDIT_STEP || output_free(out) < OUTPUT_ANSWER) return false;
  output_credit(out, stream, 0, in->owed);
  in->credit += in->owed;
  in->owed = 0;
  return true;
}
