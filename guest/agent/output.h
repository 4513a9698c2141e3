/* What waits to be written to a channel: whole frames, in one buffer of fixed size. */
#ifndef POLYVISOR_OUTPUT_H
#define POLYVISOR_OUTPUT_H

#include "fields.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Room for an answer: every request is served only when this much is free. */
#define OUTPUT_ANSWER 4096u
/* Kept free of data for answers. */
#define OUTPUT_RESERVE 32768u
#define OUTPUT_SIZE (2u * 65536u + OUTPUT_RESERVE)

struct output {
  uint8_t *buf; /* OUTPUT_SIZE bytes */
  size_t head, tail;
};

/* Bytes that can still be put. */
size_t output_free(const struct output *o);

/* A place for `size` contiguous bytes (at most output_free), to be counted in by output_filled. */
uint8_t *output_place(struct output *o, size_t size);
void output_filled(struct output *o, size_t size);

/* Puts a frame; the caller has seen to it that there is room. */
void output_frame(struct output *o, uint8_t type, uint32_t stream, const void *payload, size_t length);
void output_fields(struct output *o, uint8_t type, uint32_t stream, const struct field_writer *fields);
void output_error(struct output *o, uint32_t stream, int error, const char *message);
/* Whether there is room for a whole data frame. */
bool output_takes_data(const struct output *o);

/* Puts a DATA frame of what is read from `fd`, at most `most` bytes, and returns what read(2) did. */
ssize_t output_read(struct output *o, uint32_t stream, uint8_t channel, int fd, uint64_t most);

void output_credit(struct output *o, uint32_t stream, uint8_t channel, uint32_t bytes);

#endif
