/* Frames: the byte layout of docs/agent-protocol.md, and the parser that finds frames and prefaces in a stream. */
#ifndef POLYVISOR_FRAME_H
#define POLYVISOR_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_SYNC 0xA5u
#define FRAME_HEADER 12u
#define FRAME_PAYLOAD_MAX 65536u
#define PREFACE_MAGIC "PVAGENT1"
#define PREFACE_MAGIC_SIZE 8u
#define PREFACE_SIZE 24u
/* Two frames: a whole one can always be taken in while the one before it is still looked at. */
#define FRAMER_SIZE (2u * (FRAME_HEADER + FRAME_PAYLOAD_MAX))

enum frame_type {
  FRAME_HELLO = 0x01,
  FRAME_ERROR = 0x02,
  FRAME_PING = 0x03,
  FRAME_PONG = 0x04,
  FRAME_EVENT = 0x05,
  FRAME_SPAWN = 0x10,
  FRAME_STARTED = 0x11,
  FRAME_DATA = 0x12,
  FRAME_CREDIT = 0x13,
  FRAME_SIGNAL = 0x14,
  FRAME_RESIZE = 0x15,
  FRAME_EXIT = 0x16,
  FRAME_CANCEL = 0x17,
  FRAME_PUT = 0x20,
  FRAME_GET = 0x21,
  FRAME_DIAL = 0x22,
  FRAME_LISTEN = 0x23,
  FRAME_ACCEPTED = 0x24,
  FRAME_DONE = 0x25,
  FRAME_SYNC_STATE = 0x30,
  FRAME_ONLINE = 0x31,
  FRAME_RESCAN = 0x32,
  FRAME_INFO = 0x33,
  FRAME_POWEROFF = 0x34,
  FRAME_PREPARE = 0x35,
};

struct frame {
  uint8_t type;
  uint32_t stream;
  const uint8_t *payload; /* valid until the next framer_room */
  uint32_t length;
};

enum framer_result {
  FRAMER_MORE,    /* nothing whole yet */
  FRAMER_PREFACE, /* a preface, in framer.preface */
  FRAMER_FRAME,   /* a frame */
  FRAMER_BAD,     /* a protocol error, in framer.why; the framer now looks for a preface */
};

struct framer {
  uint8_t *buf; /* FRAMER_SIZE bytes */
  size_t start, end;
  bool scanning; /* no session: everything before a preface is dropped */
  uint8_t preface[PREFACE_SIZE];
  const char *why;
};

/* Empties the framer and makes it look for a preface. */
void framer_reset(struct framer *f, uint8_t *buf);

/* Where to put new bytes, and how many fit (0: take frames out first). */
size_t framer_room(struct framer *f, uint8_t **at);
void framer_filled(struct framer *f, size_t count);

enum framer_result framer_next(struct framer *f, struct frame *out);

/* Drops what a client sent so far, and looks for a preface byte by byte from here on. */
void framer_scan(struct framer *f);

void frame_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length);

uint16_t get_u16(const uint8_t *p);
uint32_t get_u32(const uint8_t *p);
uint64_t get_u64(const uint8_t *p);
void put_u16(uint8_t *p, uint16_t v);
void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);

#endif
