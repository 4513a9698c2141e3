/* A fuzzer for the parsers of what a host sends: builds a plausible stream, mutates it, and feeds it in pieces of two
   different sizes; both must find the same. Deterministic for a seed. Usage: fuzz SEED MILLISECONDS */
#include "address.h"
#include "agent.h"
#include "fields.h"
#include "frame.h"
#include "spawn_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STREAM_MAX 400000u

struct agent agent;

static uint64_t state;
static unsigned long frames, prefaces, spawns, bads;

static uint32_t draw(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % below;
}

static void expect_true(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "broken: %s\n", what);
  abort();
}

static size_t put_bytes(uint8_t *at, size_t length) {
  for (size_t i = 0; i < length; i++) at[i] = draw(4) ? (uint8_t)('a' + draw(26)) : (uint8_t)draw(256);
  return length;
}

static size_t put_fields(uint8_t *at) {
  static const uint16_t tags[] = {FIELD_ARG,  FIELD_ENV,   FIELD_CWD,    FIELD_USER,       FIELD_PTY,      FIELD_ROWS,
                                  FIELD_COLS, FIELD_STDIN, FIELD_DETACH, FIELD_TIMEOUT_MS, FIELD_MAX_PIDS, FIELD_CREDIT};
  size_t length = 0;
  for (uint32_t n = draw(12); n > 0; n--) {
    uint16_t tag = tags[draw(sizeof tags / sizeof tags[0])];
    uint32_t size = tag >= FIELD_PTY ? 8 : 1 + draw(40);
    uint8_t *body = at + length + FIELD_HEADER;
    put_u16(at + length, tag);
    put_u16(at + length + 2, 0);
    put_u32(at + length + 4, size);
    if (tag >= FIELD_PTY) put_u64(body, draw(3));
    else for (uint32_t i = 0; i < size; i++) body[i] = (uint8_t)('a' + draw(26));
    if (tag == FIELD_ENV && size > 2) body[1] = '=';
    length += FIELD_HEADER + size;
  }
  return length;
}

/* An address, often with a byte of it changed. */
static size_t put_address(uint8_t *at) {
  static const char *const some[] = {"tcp:127.0.0.1:80", "tcp:[fe80::1]:65535", "tcp:localhost:0", "unix:/run/a.sock", "tcp:[::ffff:1.2.3.4]:9"};
  const char *text = some[draw(sizeof some / sizeof some[0])];
  size_t length = strlen(text);
  memcpy(at, text, length);
  if (draw(2)) at[draw((uint32_t)length)] = (uint8_t)(draw(3) ? '0' + draw(11) : draw(256));
  return length;
}

static size_t put_frame(uint8_t *at) {
  static const uint8_t types[] = {FRAME_HELLO, FRAME_PING, FRAME_SPAWN, FRAME_SPAWN, FRAME_DATA, FRAME_CREDIT, FRAME_SIGNAL, FRAME_DIAL};
  uint8_t type = types[draw(sizeof types)];
  size_t length = type == FRAME_SPAWN  ? put_fields(at + FRAME_HEADER)
                  : type == FRAME_DIAL ? put_address(at + FRAME_HEADER)
                                      : put_bytes(at + FRAME_HEADER, draw(20) ? draw(200) : draw(FRAME_PAYLOAD_MAX + 1));
  frame_header(at, type, draw(10), (uint32_t)length);
  return FRAME_HEADER + length;
}

static size_t put_preface(uint8_t *at) {
  memcpy(at, PREFACE_MAGIC, PREFACE_MAGIC_SIZE);
  return PREFACE_MAGIC_SIZE + put_bytes(at + PREFACE_MAGIC_SIZE, PREFACE_SIZE - PREFACE_MAGIC_SIZE);
}

static size_t make_stream(uint8_t *at) {
  size_t length = put_bytes(at, draw(30));
  for (uint32_t n = 1 + draw(20); n > 0 && length < STREAM_MAX - 2 * FRAME_PAYLOAD_MAX; n--) {
    uint32_t kind = draw(10);
    if (kind < 2) length += put_preface(at + length);
    else if (kind == 2) memset(at + length, 0, 50), length += draw(50);
    else length += put_frame(at + length);
  }
  for (uint32_t n = draw(3) ? draw(4) : 0; n > 0; n--) at[draw((uint32_t)length + 1)] = (uint8_t)draw(256);
  if (draw(4) == 0) length = draw((uint32_t)length + 1);
  return length;
}

/* What is an address stays one when it is written down again. */
static void use_address(const struct frame *f) {
  struct address found[2], again[2];
  char text[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
  const char *why;
  if (address_parse(f->payload, f->length, found, &why) == 0) return;
  address_format(&found[0], text);
  expect_true(address_parse((const uint8_t *)text, strlen(text), again, &why) == 1, "an address that can be read again");
  address_format(&again[0], other);
  expect_true(strcmp(text, other) == 0, "the same address");
}

/* Everything a session does with a payload before it acts on it. */
static void use_frame(const struct frame *f) {
  struct spawn_request request;
  expect_true(f->length <= FRAME_PAYLOAD_MAX, "a payload within bounds");
  const char *why = spawn_request_parse(&request, f->payload, f->length);
  if (!why) {
    spawns++;
    expect_true(request.argv[request.arg_count] == NULL && request.env[request.env_count] == NULL, "lists that end");
    size_t bytes = 0;
    for (size_t i = 0; i < request.arg_count; i++) bytes += strlen(request.argv[i]) + FIELD_HEADER;
    for (size_t i = 0; i < request.env_count; i++) bytes += strlen(request.env[i]) + FIELD_HEADER;
    expect_true(bytes <= f->length, "strings no longer than the payload");
  }
  spawn_request_free(&request);
  use_address(f);
}

/* Feeds the stream in pieces of at most `piece` bytes. Returns a digest of what was found. */
static uint64_t feed(const uint8_t *data, size_t length, size_t piece, int use) {
  struct framer f;
  uint64_t digest = 14695981039346656037u;
  size_t fed = 0;
  framer_reset(&f, malloc(FRAMER_SIZE));
  for (;;) {
    struct frame frame;
    enum framer_result result = framer_next(&f, &frame);
    if (result == FRAMER_MORE) {
      uint8_t *at;
      size_t room = framer_room(&f, &at), left = length - fed;
      expect_true(room > 0, "room whenever more is wanted");
      if (left == 0) break;
      size_t n = left < piece ? left : piece;
      if (n > room) n = room;
      memcpy(at, data + fed, n);
      framer_filled(&f, n);
      fed += n;
      continue;
    }
    const uint8_t *found = result == FRAMER_PREFACE ? f.preface : result == FRAMER_FRAME ? frame.payload : NULL;
    size_t size = result == FRAMER_PREFACE ? PREFACE_SIZE : result == FRAMER_FRAME ? frame.length : 0;
    digest = (digest ^ (uint64_t)result) * 1099511628211u;
    for (size_t i = 0; i < size; i++) digest = (digest ^ found[i]) * 1099511628211u;
    if (!use) continue;
    if (result == FRAMER_PREFACE) prefaces++;
    if (result == FRAMER_BAD) bads++;
    if (result == FRAMER_FRAME) frames++, use_frame(&frame);
  }
  free(f.buf);
  return digest;
}

static long milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  state = strtoull(argv[1], NULL, 10) * 2654435761u + 1;
  fprintf(stderr, "seed %s\n", argv[1]);
  long end = milliseconds() + strtol(argv[2], NULL, 10);
  uint8_t *stream = malloc(STREAM_MAX);
  while (milliseconds() < end) {
    size_t length = make_stream(stream);
    uint64_t whole = feed(stream, length, STREAM_MAX, 1);
    expect_true(whole == feed(stream, length, 1 + draw(300), 0), "the same in pieces");
  }
  free(stream);
  printf("%lu frames %lu prefaces %lu spawns %lu errors\n", frames, prefaces, spawns, bads);
  return 0;
}
