/* Channel 0 of a stream: bytes from the host on their way into a descriptor, within the credit it was given. */
#ifndef POLYVISOR_INFLOW_H
#define POLYVISOR_INFLOW_H

#include "frame.h"
#include "output.h"

#include <stdbool.h>
#include <stdint.h>

struct inflow {
  int fd;           /* -1: nobody reads any more, and what comes is dropped */
  uint8_t *pending; /* INPUT_CREDIT bytes, made when the first byte has to wait */
  uint32_t start, length;
  uint32_t credit; /* bytes the host may still send */
  uint32_t owed;   /* bytes taken, not yet given back as credit */
  bool ended;      /* the end of file came */
};

/* Takes a DATA frame. A protocol error is returned as its description, else NULL. */
const char *inflow_data(struct inflow *in, const struct frame *f);

/* Writes what waits. When the reader is gone, `fd` is -1 after it: it is the caller's to close. */
void inflow_move(struct inflow *in);

/* Whether the end of file came and all before it has been written. */
bool inflow_done(const struct inflow *in);

/* Gives credit back when it is time and there is room. Returns whether it did. */
bool inflow_give_credit(struct inflow *in, uint32_t stream, struct output *out);

/* Nobody reads any more. */
void inflow_close(struct inflow *in);

#endif
