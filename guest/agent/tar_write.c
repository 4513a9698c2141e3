#include "tar_write.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 100u
#define ID_MAX 07777777u
#define SIZE_MAX_OCTAL 077777777777ull
#define TIME_MAX_OCTAL 077777777777ll

static void put_text(uint8_t *block, size_t offset, size_t size, const char *text) {
  size_t length = strnlen(text, size);
  memcpy(block + offset, text, length);
}

/* Octal digits and a NUL; the value fits. */
static void put_number(uint8_t *block, size_t offset, size_t size, uint64_t value) {
  for (size_t i = size - 1; i-- > 0; value >>= 3) block[offset + i] = (uint8_t)('0' + (value & 7));
}

static void put_header(uint8_t *b, const struct tar_entry *e) {
  memset(b, 0, TAR_BLOCK);
  put_text(b, TAR_AT_NAME, e->name);
  put_number(b, TAR_AT_MODE, e->mode);
  put_number(b, TAR_AT_UID, e->uid <= ID_MAX ? e->uid : 0);
  put_number(b, TAR_AT_GID, e->gid <= ID_MAX ? e->gid : 0);
  put_number(b, TAR_AT_SIZE, e->size <= SIZE_MAX_OCTAL ? e->size : 0);
  put_number(b, TAR_AT_MTIME, e->mtime >= 0 && e->mtime <= TIME_MAX_OCTAL ? (uint64_t)e->mtime : 0);
  b[TAR_AT_TYPE] = (uint8_t)e->type;
  put_text(b, TAR_AT_LINK, e->link);
  memcpy(b + TAR_AT_MAGIC, "ustar\00000", 8);
  uint32_t sum = 8 * ' ';
  for (size_t i = 0; i < TAR_BLOCK; i++) sum += b[i];
  put_number(b, 148, 7, sum);
  b[155] = ' ';
}

/* `LENGTH key=value\n`: its length counts its own digits. */
size_t tar_write_record(uint8_t *at, const char *key, const void *value, size_t length) {
  size_t rest = strlen(key) + length + 3;
  /* One digit more for each power of ten that the sum reaches. */
  size_t digits = 1;
  for (size_t limit = 10; rest + digits >= limit; limit *= 10) digits++;
  size_t total = rest + digits;
  int n = sprintf((char *)at, "%zu %s=", total, key);
  memcpy(at + n, value, length);
  at[total - 1] = '\n';
  return total;
}

static size_t put_number_record(uint8_t *at, const char *key, uint64_t value) {
  char text[24];
  int n = snprintf(text, sizeof text, "%" PRIu64, value);
  return tar_write_record(at, key, text, (size_t)n);
}

static size_t put_time_record(uint8_t *at, int64_t seconds, uint32_t ns) {
  char text[40];
  bool negative = seconds < 0;
  uint64_t whole = negative ? (uint64_t)-seconds : (uint64_t)seconds;
  if (negative && ns > 0) {
    whole--;
    ns = 1000000000 - ns;
  }
  int n = snprintf(text, sizeof text, ns ? "%s%" PRIu64 ".%09" PRIu32 : "%s%" PRIu64, negative ? "-" : "", whole, ns);
  return tar_write_record(at, "mtime", text, (size_t)n);
}

/* Everything that the plain header can't say. */
static size_t put_records(uint8_t *at, const struct tar_entry *e) {
  size_t n = 0, name = strlen(e->name), link = strlen(e->link);
  if (name > NAME_SIZE) n += tar_write_record(at + n, "path", e->name, name);
  if (link > NAME_SIZE) n += tar_write_record(at + n, "linkpath", e->link, link);
  if (e->size > SIZE_MAX_OCTAL) n += put_number_record(at + n, "size", e->size);
  if (e->uid > ID_MAX) n += put_number_record(at + n, "uid", e->uid);
  if (e->gid > ID_MAX) n += put_number_record(at + n, "gid", e->gid);
  if (e->mtime_ns || e->mtime < 0 || e->mtime > TIME_MAX_OCTAL) n += put_time_record(at + n, e->mtime, e->mtime_ns);
  if (e->records_length > 0) memcpy(at + n, e->records, e->records_length);
  return n + e->records_length;
}

size_t tar_write_entry(const struct tar_entry *e, uint8_t *out) {
  size_t records = put_records(out + TAR_BLOCK, e);
  if (records == 0) {
    put_header(out, e);
    return TAR_BLOCK;
  }
  struct tar_entry extended = {.type = TAR_PAX, .name = "././@PaxHeader", .link = "", .mode = 0644, .size = records};
  put_header(out, &extended);
  size_t end = TAR_BLOCK + records, padding = tar_padding(records);
  memset(out + end, 0, padding);
  put_header(out + end + padding, e);
  return end + padding + TAR_BLOCK;
}
