#include "fields.h"

#include "frame.h"

#include <string.h>

#define TEXT_MAX 1024u

void fields_read(struct field_reader *r, const uint8_t *payload, size_t length) {
  memset(r, 0, sizeof *r);
  r->at = payload;
  r->end = payload + length;
}

bool fields_next(struct field_reader *r, struct field *out) {
  size_t left = (size_t)(r->end - r->at);
  if (r->why || left == 0) return false;
  if (left < FIELD_HEADER) {
    r->why = "a field is cut short";
    return false;
  }
  uint32_t length = get_u32(r->at + 4);
  if (get_u16(r->at + 2) != 0 || length > left - FIELD_HEADER) {
    r->why = "a field is malformed";
    return false;
  }
  out->tag = get_u16(r->at);
  out->data = r->at + FIELD_HEADER;
  out->length = length;
  r->at += FIELD_HEADER + length;
  return true;
}

bool field_once(struct field_reader *r, const struct field *f) {
  uint64_t bit = 1ull << (f->tag % 64);
  if (f->tag >= FIELD_TAG_END || r->seen[f->tag / 64] & bit) {
    r->why = "a field is given twice";
    return false;
  }
  r->seen[f->tag / 64] |= bit;
  return true;
}

bool field_integer(struct field_reader *r, const struct field *f, uint64_t max, uint64_t *out) {
  if (f->length != 8) {
    r->why = "an integer is not 8 bytes long";
    return false;
  }
  uint64_t value = get_u64(f->data);
  if (value > max) {
    r->why = "an integer is out of range";
    return false;
  }
  *out = value;
  return true;
}

bool field_string(struct field_reader *r, const struct field *f, size_t min, size_t max) {
  if (f->length < min || f->length > max) {
    r->why = "a string is too short or too long";
    return false;
  }
  if (f->length > 0 && memchr(f->data, 0, f->length)) {
    r->why = "a string holds a NUL";
    return false;
  }
  return true;
}

void fields_put_integer(struct field_writer *w, uint16_t tag, uint64_t value) {
  if (sizeof w->buf - w->length < FIELD_HEADER + 8) return;
  uint8_t *p = w->buf + w->length;
  put_u16(p, tag);
  put_u16(p + 2, 0);
  put_u32(p + 4, 8);
  put_u64(p + 8, value);
  w->length += FIELD_HEADER + 8;
}

void fields_put_string(struct field_writer *w, uint16_t tag, const char *text) {
  size_t length = strlen(text), room = sizeof w->buf - w->length;
  if (room < FIELD_HEADER) return;
  if (length > TEXT_MAX) length = TEXT_MAX;
  if (length > room - FIELD_HEADER) length = room - FIELD_HEADER;
  /* Don't cut a UTF-8 character in half. */
  if (text[length] != 0)
    while (length > 0 && ((uint8_t)text[length] & 0xC0) == 0x80) length--;
  uint8_t *p = w->buf + w->length;
  put_u16(p, tag);
  put_u16(p + 2, 0);
  put_u32(p + 4, (uint32_t)length);
  memcpy(p + FIELD_HEADER, text, length);
  w->length += FIELD_HEADER + length;
}
