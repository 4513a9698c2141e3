#include "frame.h"

#include <string.h>

uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

uint32_t get_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t get_u64(const uint8_t *p) { return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }

void put_u16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
}

void put_u32(uint8_t *p, uint32_t v) {
  put_u16(p, (uint16_t)v);
  put_u16(p + 2, (uint16_t)(v >> 16));
}

void put_u64(uint8_t *p, uint64_t v) {
  put_u32(p, (uint32_t)v);
  put_u32(p + 4, (uint32_t)(v >> 32));
}

void frame_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length) {
  at[0] = FRAME_SYNC;
  at[1] = type;
  put_u16(at + 2, 0);
  put_u32(at + 4, stream);
  put_u32(at + 8, length);
}

/* Types that a host may send; those it may not are as unknown as the rest. */
static bool from_host(uint8_t type) {
  switch (type) {
  case FRAME_HELLO:
  case FRAME_ERROR:
  case FRAME_PING:
  case FRAME_SPAWN:
  case FRAME_DATA:
  case FRAME_CREDIT:
  case FRAME_SIGNAL:
  case FRAME_RESIZE:
  case FRAME_CANCEL:
  case FRAME_PUT:
  case FRAME_GET:
  case FRAME_DIAL:
  case FRAME_LISTEN:
  case FRAME_SYNC_STATE:
  case FRAME_ONLINE:
  case FRAME_RESCAN:
  case FRAME_INFO:
  case FRAME_POWEROFF:
  case FRAME_PREPARE:
    return true;
  default:
    return false;
  }
}

void framer_reset(struct framer *f, uint8_t *buf) {
  memset(f, 0, sizeof *f);
  f->buf = buf;
  f->scanning = true;
}

void framer_scan(struct framer *f) {
  f->start = f->end = 0;
  f->scanning = true;
}

size_t framer_room(struct framer *f, uint8_t **at) {
  if (f->start == f->end) {
    f->start = f->end = 0;
  } else if (f->start > 0 && FRAMER_SIZE - f->end < FRAME_HEADER + FRAME_PAYLOAD_MAX) {
    memmove(f->buf, f->buf + f->start, f->end - f->start);
    f->end -= f->start;
    f->start = 0;
  }
  *at = f->buf + f->end;
  return FRAMER_SIZE - f->end;
}

void framer_filled(struct framer *f, size_t count) { f->end += count; }

static enum framer_result bad(struct framer *f, const char *why) {
  f->why = why;
  f->scanning = true;
  return FRAMER_BAD;
}

static enum framer_result take_preface(struct framer *f) {
  memcpy(f->preface, f->buf + f->start, PREFACE_SIZE);
  f->start += PREFACE_SIZE;
  f->scanning = false;
  return FRAMER_PREFACE;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Without a session: drops bytes up to the first preface, or up to what may become one. */
static enum framer_result scan(struct framer *f) {
  while (f->start < f->end) {
    const uint8_t *p = memchr(f->buf + f->start, PREFACE_MAGIC[0], f->end - f->start);
    if (!p) {
      f->start = f->end;
      return FRAMER_MORE;
    }
    f->start = (size_t)(p - f->buf);
    size_t have = f->end - f->start;
    if (memcmp(p, PREFACE_MAGIC, smaller(have, PREFACE_MAGIC_SIZE)) == 0)
      return have < PREFACE_SIZE ? FRAMER_MORE : take_preface(f);
    f->start++;
  }
  return FRAMER_MORE;
}

enum framer_result framer_next(struct framer *f, struct frame *out) {
  if (f->scanning) return scan(f);
  while (f->start < f->end && f->buf[f->start] == 0) f->start++;
  size_t have = f->end - f->start;
  if (have == 0) return FRAMER_MORE;
  const uint8_t *p = f->buf + f->start;
  if (p[0] == PREFACE_MAGIC[0]) {
    if (memcmp(p, PREFACE_MAGIC, smaller(have, PREFACE_MAGIC_SIZE)) != 0) return bad(f, "neither a frame nor a preface");
    return have < PREFACE_SIZE ? FRAMER_MORE : take_preface(f);
  }
  if (p[0] != FRAME_SYNC) return bad(f, "wrong sync byte");
  if (have >= 2 && !from_host(p[1])) return bad(f, "unknown frame type");
  if (have < FRAME_HEADER) return FRAMER_MORE;
  if (get_u16(p + 2) != 0) return bad(f, "reserved field is not 0");
  uint32_t length = get_u32(p + 8);
  if (length > FRAME_PAYLOAD_MAX) return bad(f, "payload too long");
  if (have < FRAME_HEADER + length) return FRAMER_MORE;
  out->type = p[1];
  out->stream = get_u32(p + 4);
  out->payload = p + FRAME_HEADER;
  out->length = length;
  f->start += FRAME_HEADER + length;
  return FRAMER_FRAME;
}
