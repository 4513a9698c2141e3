/* Fields: `u16 tag, u16 0, u32 length, bytes`, read from requests and written into answers. */
#ifndef POLYVISOR_FIELDS_H
#define POLYVISOR_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIELD_HEADER 8u

enum field_tag {
  FIELD_VERSION = 1,
  FIELD_FEATURES = 2,
  FIELD_AGENT = 3,
  FIELD_BOOT_ID = 4,
  FIELD_ERRNO = 5,
  FIELD_MESSAGE = 6,
  FIELD_EVENT = 7,
  FIELD_ARG = 16,
  FIELD_ENV = 17,
  FIELD_CWD = 18,
  FIELD_USER = 19,
  FIELD_PTY = 20,
  FIELD_ROWS = 21,
  FIELD_COLS = 22,
  FIELD_STDIN = 23,
  FIELD_DETACH = 24,
  FIELD_TIMEOUT_MS = 25,
  FIELD_MAX_PIDS = 26,
  FIELD_MAX_MEMORY = 27,
  FIELD_CREDIT = 28,
  FIELD_MAX_CPU = 29,
  FIELD_PID = 32,
  FIELD_SIGNAL = 33,
  FIELD_TREE = 34,
  FIELD_CODE = 35,
  FIELD_TIMED_OUT = 36,
  FIELD_OOM = 37,
  FIELD_MODE = 48,
  FIELD_ENTROPY = 49,
  FIELD_CLOCK = 50,
  FIELD_HOSTNAME = 51,
  FIELD_MACHINE_ID = 52,
  FIELD_MAC_MASK = 53,
  FIELD_UPTIME_MS = 64,
  FIELD_MEMORY_TOTAL = 65,
  FIELD_MEMORY_AVAILABLE = 66,
  FIELD_CPUS_ONLINE = 67,
  FIELD_RESEEDS = 68,
  FIELD_PROCESSES = 69,
  FIELD_MEMORY_BLOCKS = 70,
  FIELD_MEMORY_BLOCK_BYTES = 71,
  FIELD_PATH = 80,
  FIELD_ADDRESS = 81,
  FIELD_LISTENER = 82,
  FIELD_TOP = 83,
  FIELD_FOLLOW = 84,
  FIELD_ENTRIES = 85,
  FIELD_BYTES = 86,
  FIELD_SKIPPED = 87,
  FIELD_IMAGE = 88,
};

/* Every tag is below this, so a set of tags fits two words. */
#define FIELD_TAG_END 128u

struct field {
  uint16_t tag;
  const uint8_t *data;
  uint32_t length;
};

struct field_reader {
  const uint8_t *at, *end;
  uint64_t seen[FIELD_TAG_END / 64];
  const char *why; /* set when the payload is malformed */
};

void fields_read(struct field_reader *r, const uint8_t *payload, size_t length);

/* The next field; false at the end, or with `why` set when what follows isn't a field. */
bool fields_next(struct field_reader *r, struct field *out);

/* False, with `why` set, when this tag came before. */
bool field_once(struct field_reader *r, const struct field *f);

/* False, with `why` set, unless the field is an integer of at most `max`. */
bool field_integer(struct field_reader *r, const struct field *f, uint64_t max, uint64_t *out);

/* False, with `why` set, unless the field is a string without NUL of `min` to `max` bytes. */
bool field_string(struct field_reader *r, const struct field *f, size_t min, size_t max);

/* Fields of an answer, built in a buffer of fixed size; what doesn't fit is cut (strings) or left out. */
struct field_writer {
  uint8_t buf[2048];
  size_t length;
};

void fields_put_integer(struct field_writer *w, uint16_t tag, uint64_t value);
void fields_put_string(struct field_writer *w, uint16_t tag, const char *text);

#endif
