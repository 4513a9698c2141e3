#include "copy_request.h"

#include "agent.h"
#include "fields.h"

#include <stdbool.h>
#include <string.h>

static void copy_text(char *out, const struct field *f) {
  memcpy(out, f->data, f->length);
  out[f->length] = 0;
}

const char *copy_request_parse(struct copy_request *out, const struct frame *f) {
  struct field_reader r;
  struct field field;
  bool get = f->type == FRAME_GET;
  memset(out, 0, sizeof *out);
  out->credit = OUTPUT_CREDIT;
  fields_read(&r, f->payload, f->length);
  while (fields_next(&r, &field)) {
    if (!field_once(&r, &field)) break;
    if (field.tag == FIELD_PATH) {
      if (field_string(&r, &field, 1, sizeof out->path - 1)) copy_text(out->path, &field);
    } else if (!get && field.tag == FIELD_TOP) {
      if (field_string(&r, &field, 1, sizeof out->top - 1)) copy_text(out->top, &field);
    } else if (get && field.tag == FIELD_FOLLOW) {
      field_integer(&r, &field, 1, &out->follow);
    } else if (get && field.tag == FIELD_IMAGE) {
      field_integer(&r, &field, 1, &out->image);
    } else if (get && field.tag == FIELD_CREDIT) {
      field_integer(&r, &field, UINT32_MAX, &out->credit);
    } else {
      r.why = get ? "GET has an unknown field" : "PUT has an unknown field";
    }
  }
  if (r.why) return r.why;
  if (out->path[0] != '/') return "a path must be absolute";
  if (out->image && strcmp(out->path, "/") != 0) return "an image is of / alone";
  if (strchr(out->top, '/') || strcmp(out->top, "..") == 0) return "top is no single name";
  return NULL;
}
