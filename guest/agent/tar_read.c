#include "tar_read.h"

#include <string.h>

#define MODE_BITS 07777u
/* Seconds that every file system of Linux can take, whatever a header says. */
#define MTIME_MAX ((int64_t)1 << 40)

static enum tar_result bad(struct tar_reader *r, const char *why) {
  r->state = TAR_FAILED;
  r->why = why;
  return TAR_BAD;
}

/* Octal digits between blanks, or base 256 when the first bit is set. False: neither, or beyond 63 bits. */
static bool number(const uint8_t *block, size_t offset, size_t size, uint64_t *out) {
  const uint8_t *p = block + offset, *end = p + size;
  uint64_t value = 0;
  if (*p & 0x80) {
    value = *p++ & 0x7F;
    for (; p < end; p++) {
      if (value >> 55) return false;
      value = value << 8 | *p;
    }
    *out = value;
    return true;
  }
  while (p < end && *p == ' ') p++;
  for (; p < end && *p >= '0' && *p <= '7'; p++) {
    if (value >> 60) return false;
    value = value << 3 | (uint64_t)(*p - '0');
  }
  for (; p < end; p++)
    if (*p != ' ' && *p != 0) return false;
  *out = value;
  return true;
}

static bool number_below(const uint8_t *block, size_t offset, size_t size, uint64_t max, uint32_t *out) {
  uint64_t value;
  if (!number(block, offset, size, &value) || value > max) return false;
  *out = (uint32_t)value;
  return true;
}

/* Historic archives summed signed bytes: both sums are taken, as by every reader. */
static bool checksum_holds(const uint8_t *block) {
  uint64_t wanted;
  uint32_t sum = 8 * ' ';
  int32_t historic = 8 * ' ';
  if (!number(block, TAR_AT_CHECKSUM, &wanted)) return false;
  for (size_t i = 0; i < TAR_BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    sum += block[i];
    historic += (int8_t)block[i];
  }
  return wanted == sum || (historic >= 0 && wanted == (uint64_t)historic);
}

static bool is_zero(const uint8_t *block) { return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0; }

static size_t text(char *out, const uint8_t *block, size_t offset, size_t size) {
  size_t length = strnlen((const char *)block + offset, size);
  memcpy(out, block + offset, length);
  out[length] = 0;
  return length;
}

static void read_name(struct tar_reader *r, const uint8_t *b) {
  size_t at = 0;
  /* GNU's own format has other things where ustar's prefix is. */
  if (memcmp(b + TAR_AT_MAGIC, "ustar\0", 6) == 0 && b[345] != 0) {
    at = text(r->name, b, TAR_AT_PREFIX);
    r->name[at++] = '/';
  }
  text(r->name + at, b, TAR_AT_NAME);
}

static const char *read_fields(struct tar_reader *r, const uint8_t *b) {
  struct tar_entry *e = &r->entry;
  uint64_t mtime = 0;
  uint32_t mode;
  if (!r->overrides.name) read_name(r, b);
  if (!r->overrides.link) text(r->link, b, TAR_AT_LINK);
  if (!r->overrides.size && (!number(b, TAR_AT_SIZE, &e->size) || e->size > INT64_MAX)) return "a size is no number";
  if (!r->overrides.uid && !number_below(b, TAR_AT_UID, UINT32_MAX - 1, &e->uid)) return "an owner is no number";
  if (!r->overrides.gid && !number_below(b, TAR_AT_GID, UINT32_MAX - 1, &e->gid)) return "a group is no number";
  if (!r->overrides.mtime) {
    if (!number(b, TAR_AT_MTIME, &mtime) || mtime > (uint64_t)MTIME_MAX) return "a time is no number";
    e->mtime = (int64_t)mtime;
    e->mtime_ns = 0;
  }
  if (!number_below(b, TAR_AT_MODE, UINT32_MAX, &mode)) return "a mode is no number";
  e->mode = mode & MODE_BITS;
  return NULL;
}

static const char *judge_type(struct tar_reader *r, char type) {
  struct tar_entry *e = &r->entry;
  size_t length = strlen(r->name);
  if (type == 0 || type == TAR_CONTIGUOUS_FILE) type = TAR_FILE;
  /* Before there was a type for folders, a slash at the end made one. */
  if (type == TAR_FILE && length > 0 && r->name[length - 1] == '/') type = TAR_FOLDER;
  e->type = (enum tar_type)type;
  switch (type) {
  case TAR_FILE:
    break;
  case TAR_FOLDER:
  case TAR_SYMLINK:
  case TAR_HARD_LINK:
    if (e->size > 0) return "a folder or a link has a size";
    break;
  case TAR_CHARACTER_DEVICE:
  case TAR_BLOCK_DEVICE:
  case TAR_FIFO:
    return "devices and fifos are not copied";
  default:
    return "an entry is of an unknown type";
  }
  if (length == 0) return "an entry has no name";
  bool linked = type == TAR_SYMLINK || type == TAR_HARD_LINK;
  if (linked && r->link[0] == 0) return "a link points to nothing";
  if (!linked) r->link[0] = 0;
  return NULL;
}

static enum tar_result begin_extension(struct tar_reader *r, const uint8_t *b, char type) {
  uint64_t size;
  if (!number(b, TAR_AT_SIZE, &size) || size > TAR_EXTENSION_MAX) return bad(r, "an extended header is too long");
  r->extension = (enum tar_type)type;
  r->state = TAR_IN_EXTENSION;
  r->have = 0;
  r->left = size;
  r->extension_padding = tar_padding(size);
  return TAR_MORE;
}

static enum tar_result take_header(struct tar_reader *r, const uint8_t *b) {
  if (is_zero(b)) {
    if (r->zero_block) r->state = TAR_AFTER_END;
    r->zero_block = true;
    return TAR_MORE;
  }
  if (r->zero_block) return bad(r, "an entry follows the end of the archive");
  if (!checksum_holds(b)) return bad(r, "a header's checksum is wrong");
  char type = (char)b[TAR_AT_TYPE];
  if (type == TAR_PAX || type == TAR_GLOBAL_PAX || type == TAR_GNU_LONG_LINK || type == TAR_GNU_LONG_NAME)
    return begin_extension(r, b, type);
  const char *why = read_fields(r, b);
  if (!why) why = judge_type(r, type);
  if (why) return bad(r, why);
  memset(&r->overrides, 0, sizeof r->overrides);
  r->entry.name = r->name;
  r->entry.link = r->link;
  r->left = r->entry.size;
  r->state = TAR_IN_BODY;
  return TAR_ENTRY;
}

static bool decimal(const char *value, size_t length, uint64_t max, uint64_t *out) {
  uint64_t n = 0;
  if (length == 0 || length > 19) return false;
  for (size_t i = 0; i < length; i++) {
    if (value[i] < '0' || value[i] > '9') return false;
    n = n * 10 + (uint64_t)(value[i] - '0');
  }
  *out = n;
  return n <= max;
}

/* Seconds with a fraction, possibly negative: -1.25 is 2 s before the epoch and 750 ms on. */
static bool pax_time(const char *value, size_t length, struct tar_entry *e) {
  bool negative = length > 0 && value[0] == '-';
  if (negative) value++, length--;
  const char *dot = memchr(value, '.', length);
  size_t whole = dot ? (size_t)(dot - value) : length;
  uint64_t seconds;
  uint32_t ns = 0, unit = 100000000;
  if (!decimal(value, whole, (uint64_t)MTIME_MAX, &seconds)) return false;
  for (size_t i = whole + 1; i < length; i++, unit /= 10) {
    if (value[i] < '0' || value[i] > '9') return false;
    ns += (uint32_t)(value[i] - '0') * unit;
  }
  e->mtime = negative ? -(int64_t)seconds : (int64_t)seconds;
  e->mtime_ns = ns;
  if (negative && ns > 0) {
    e->mtime--;
    e->mtime_ns = 1000000000 - ns;
  }
  return true;
}

static bool pax_text(char *out, const char *value, size_t length) {
  if (length == 0 || length >= TAR_NAME_MAX || memchr(value, 0, length)) return false;
  memcpy(out, value, length);
  out[length] = 0;
  return true;
}

static bool pax_id(const char *value, size_t length, uint32_t *out) {
  uint64_t id;
  if (!decimal(value, length, UINT32_MAX - 1, &id)) return false;
  *out = (uint32_t)id;
  return true;
}

#define IS(word) (key_length == sizeof word - 1 && memcmp(key, word, sizeof word - 1) == 0)
#define BEGINS(word) (key_length >= sizeof word - 1 && memcmp(key, word, sizeof word - 1) == 0)

/* One `key=value`. Keys that say nothing of what we keep are skipped. */
static const char *pax_record(struct tar_reader *r, const char *key, size_t key_length, const char *value, size_t length) {
  struct tar_overrides *o = &r->overrides;
  bool known = true, good = true;
  if (IS("path")) good = o->name = pax_text(r->name, value, length);
  else if (IS("linkpath")) good = o->link = pax_text(r->link, value, length);
  else if (IS("size")) good = o->size = decimal(value, length, INT64_MAX, &r->entry.size);
  else if (IS("uid")) good = o->uid = pax_id(value, length, &r->entry.uid);
  else if (IS("gid")) good = o->gid = pax_id(value, length, &r->entry.gid);
  else if (IS("mtime")) good = o->mtime = pax_time(value, length, &r->entry);
  else known = BEGINS("GNU.sparse.");
  if (!good) return "a field of an extended header is malformed";
  if (known && BEGINS("GNU.sparse.")) return "archives with holes are not taken";
  return known && r->extension == TAR_GLOBAL_PAX ? "a global header names a file" : NULL;
}

/* Records `LENGTH key=value\n`, where LENGTH counts all of the record. */
static const char *take_pax(struct tar_reader *r) {
  static const char *const malformed = "an extended header is malformed";
  const char *at = r->collected, *end = at + r->have;
  while (at < end) {
    size_t size = 0;
    const char *p = at;
    for (; p < end && *p >= '0' && *p <= '9' && size <= TAR_EXTENSION_MAX; p++) size = size * 10 + (size_t)(*p - '0');
    if (p == at || p == end || *p != ' ' || size > (size_t)(end - at) || at + size <= p + 1) return malformed;
    const char *key = p + 1, *stop = at + size - 1;
    const char *equals = memchr(key, '=', (size_t)(stop - key));
    if (*stop != '\n' || !equals || equals == key) return malformed;
    const char *why = pax_record(r, key, (size_t)(equals - key), equals + 1, (size_t)(stop - equals - 1));
    if (why) return why;
    at += size;
  }
  return NULL;
}

static const char *take_extension(struct tar_reader *r) {
  if (r->extension == TAR_PAX || r->extension == TAR_GLOBAL_PAX) return take_pax(r);
  bool name = r->extension == TAR_GNU_LONG_NAME;
  size_t length = strnlen(r->collected, r->have);
  if (!pax_text(name ? r->name : r->link, r->collected, length)) return "a long name is malformed";
  if (name) r->overrides.name = true;
  else r->overrides.link = true;
  return NULL;
}

static size_t smaller(uint64_t a, size_t b) { return a < b ? (size_t)a : b; }

static void advance(const uint8_t **at, size_t *length, size_t n) {
  *at += n;
  *length -= n;
}

/* A header that lies whole in what is given is read from there; only one that is cut is put together. */
static enum tar_result in_header(struct tar_reader *r, const uint8_t **at, size_t *length) {
  const uint8_t *block = *at;
  if (r->have == 0 && *length >= TAR_BLOCK) {
    advance(at, length, TAR_BLOCK);
    return take_header(r, block);
  }
  size_t n = smaller(TAR_BLOCK - r->have, *length);
  memcpy(r->block + r->have, *at, n);
  r->have += n;
  advance(at, length, n);
  if (r->have < TAR_BLOCK) return TAR_MORE;
  r->have = 0;
  return take_header(r, r->block);
}

static enum tar_result in_extension(struct tar_reader *r, const uint8_t **at, size_t *length) {
  size_t n = smaller(r->left, *length);
  memcpy(r->collected + r->have, *at, n);
  r->have += n;
  r->left -= n;
  advance(at, length, n);
  if (r->left > 0) return TAR_MORE;
  const char *why = take_extension(r);
  r->have = 0;
  r->left = r->extension_padding;
  r->state = TAR_IN_PADDING;
  return why ? bad(r, why) : TAR_MORE;
}

static enum tar_result in_body(struct tar_reader *r, const uint8_t **at, size_t *length) {
  if (r->left == 0) {
    r->left = tar_padding(r->entry.size);
    r->state = TAR_IN_PADDING;
    return TAR_DONE;
  }
  size_t n = smaller(r->left, *length);
  r->data = *at;
  r->data_length = n;
  r->left -= n;
  advance(at, length, n);
  return TAR_DATA;
}

static enum tar_result in_padding(struct tar_reader *r, const uint8_t **at, size_t *length) {
  size_t n = smaller(r->left, *length);
  r->left -= n;
  advance(at, length, n);
  if (r->left == 0) r->state = TAR_IN_HEADER;
  return TAR_MORE;
}

void tar_read_start(struct tar_reader *r) {
  memset(r, 0, offsetof(struct tar_reader, block));
  r->name[0] = r->link[0] = 0;
}

enum tar_result tar_read(struct tar_reader *r, const uint8_t **at, size_t *length) {
  for (;;) {
    enum tar_result result = TAR_MORE;
    /* A body, an extension and its padding come to their end without another byte. */
    bool waits = r->state == TAR_IN_HEADER || r->state == TAR_AFTER_END || r->left > 0;
    if (r->state == TAR_FAILED) return TAR_BAD;
    if (*length == 0 && waits) return TAR_MORE;
    if (r->state == TAR_IN_HEADER) result = in_header(r, at, length);
    else if (r->state == TAR_IN_EXTENSION) result = in_extension(r, at, length);
    else if (r->state == TAR_IN_BODY) result = in_body(r, at, length);
    else if (r->state == TAR_IN_PADDING) result = in_padding(r, at, length);
    else advance(at, length, *length);
    if (result != TAR_MORE) return result;
  }
}

bool tar_read_complete(const struct tar_reader *r) { return r->state == TAR_AFTER_END; }
