#include "output.h"

#include "frame.h"

#include <string.h>
#include <unistd.h>

#define DATA_HEADER (FRAME_HEADER + 1u)
/* A data frame fills 64 KiB in all: a virtio-serial port takes writes in units of 32 KiB. */
#define DATA_MAX (65536u - DATA_HEADER)

size_t output_free(const struct output *o) { return OUTPUT_SIZE - (o->tail - o->head); }

uint8_t *output_place(struct output *o, size_t size) {
  if (OUTPUT_SIZE - o->tail < size) {
    memmove(o->buf, o->buf + o->head, o->tail - o->head);
    o->tail -= o->head;
    o->head = 0;
  }
  return o->buf + o->tail;
}

void output_filled(struct output *o, size_t size) { o->tail += size; }

void output_frame(struct output *o, uint8_t type, uint32_t stream, const void *payload, size_t length) {
  if (output_free(o) < FRAME_HEADER + length) return;
  uint8_t *at = output_place(o, FRAME_HEADER + length);
  frame_header(at, type, stream, (uint32_t)length);
  if (length > 0) memcpy(at + FRAME_HEADER, payload, length);
  output_filled(o, FRAME_HEADER + length);
}

void output_fields(struct output *o, uint8_t type, uint32_t stream, const struct field_writer *fields) {
  output_frame(o, type, stream, fields->buf, fields->length);
}

void output_error(struct output *o, uint32_t stream, int error, const char *message) {
  struct field_writer w = {.length = 0};
  fields_put_integer(&w, FIELD_ERRNO, (uint64_t)error);
  fields_put_string(&w, FIELD_MESSAGE, message);
  output_fields(o, FRAME_ERROR, stream, &w);
}

bool output_takes_data(const struct output *o) { return output_free(o) >= DATA_HEADER + DATA_MAX + OUTPUT_RESERVE; }

ssize_t output_read(struct output *o, uint32_t stream, uint8_t channel, int fd, uint64_t most) {
  if (most > DATA_MAX) most = DATA_MAX;
  uint8_t *at = output_place(o, DATA_HEADER + most);
  ssize_t n = read(fd, at + DATA_HEADER, most);
  if (n <= 0) return n;
  frame_header(at, FRAME_DATA, stream, (uint32_t)n + 1);
  at[FRAME_HEADER] = channel;
  output_filled(o, DATA_HEADER + (size_t)n);
  return n;
}

void output_credit(struct output *o, uint32_t stream, uint8_t channel, uint32_t bytes) {
  uint8_t payload[5] = {channel};
  put_u32(payload + 1, bytes);
  output_frame(o, FRAME_CREDIT, stream, payload, sizeof payload);
}
