#include "spawn_request.h"

#include "agent.h"
#include "fields.h"

#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX 4095
#define USER_BYTES_MAX 255
#define CPU_MAX (1000u * 65536u)
#define TIMEOUT_MS_MAX (1000ull * 60 * 60 * 24 * 365)

/* Every field takes at least 8 bytes of the payload, so the payload's length bounds what is needed here. */
struct arena {
  char *text;
  char **pointers;
};

static char *keep(struct arena *a, const struct field *f) {
  char *text = a->text;
  memcpy(text, f->data, f->length);
  text[f->length] = 0;
  a->text += f->length + 1;
  return text;
}

static bool take_integer(struct field_reader *r, const struct field *f, uint64_t max, uint64_t *out) {
  return field_once(r, f) && field_integer(r, f, max, out);
}

static bool take_flag(struct field_reader *r, const struct field *f, bool *out) {
  uint64_t value = 0;
  if (!take_integer(r, f, 1, &value)) return false;
  *out = value == 1;
  return true;
}

static bool take_size(struct field_reader *r, const struct field *f, uint16_t *out) {
  uint64_t value = 0;
  if (!take_integer(r, f, UINT16_MAX, &value)) return false;
  *out = (uint16_t)value;
  return true;
}

static bool take_string(struct field_reader *r, const struct field *f, size_t max, struct arena *a, const char **out) {
  if (!field_once(r, f) || !field_string(r, f, 1, max)) return false;
  *out = keep(a, f);
  return true;
}

static bool take_env(struct field_reader *r, const struct field *f) {
  if (!field_string(r, f, 2, SIZE_MAX)) return false;
  if (f->data[0] == '=' || !memchr(f->data, '=', f->length)) r->why = "an env field is not K=V";
  return !r->why;
}

static bool take(struct spawn_request *q, struct field_reader *r, const struct field *f, struct arena *a) {
  switch (f->tag) {
  case FIELD_ARG:
    return field_string(r, f, 0, SIZE_MAX); /* kept by the second pass */
  case FIELD_ENV:
    return take_env(r, f);
  case FIELD_CWD:
    return take_string(r, f, PATH_BYTES_MAX, a, &q->cwd);
  case FIELD_USER:
    return take_string(r, f, USER_BYTES_MAX, a, &q->user);
  case FIELD_PTY:
    return take_flag(r, f, &q->pty);
  case FIELD_STDIN:
    return take_flag(r, f, &q->input);
  case FIELD_DETACH:
    return take_flag(r, f, &q->detach);
  case FIELD_ROWS:
    return take_size(r, f, &q->rows);
  case FIELD_COLS:
    return take_size(r, f, &q->cols);
  case FIELD_TIMEOUT_MS:
    return take_integer(r, f, TIMEOUT_MS_MAX, &q->timeout_ms);
  case FIELD_MAX_PIDS:
    return take_integer(r, f, INT32_MAX, &q->limits.pids);
  case FIELD_MAX_MEMORY:
    return take_integer(r, f, INT64_MAX, &q->limits.memory);
  case FIELD_MAX_CPU:
    return take_integer(r, f, CPU_MAX, &q->limits.cpu);
  case FIELD_CREDIT:
    return take_integer(r, f, INT64_MAX, &q->credit);
  default:
    r->why = "SPAWN has an unknown field";
    return false;
  }
}

/* Collects the strings of one repeated tag, in order, and the NULL that ends them. */
static char **collect(struct arena *a, const uint8_t *payload, size_t length, uint16_t tag, size_t *count) {
  struct field_reader r;
  struct field f;
  char **list = a->pointers;
  fields_read(&r, payload, length);
  while (fields_next(&r, &f))
    if (f.tag == tag) *a->pointers++ = keep(a, &f);
  *count = (size_t)(a->pointers - list);
  *a->pointers++ = NULL;
  return list;
}

const char *spawn_request_parse(struct spawn_request *out, const uint8_t *payload, size_t length) {
  struct field_reader r;
  struct field f;
  memset(out, 0, sizeof *out);
  out->credit = OUTPUT_CREDIT;
  size_t fields = length / FIELD_HEADER + 2;
  out->memory = malloc(fields * sizeof(char *) + length + fields);
  if (!out->memory) return "out of memory";
  struct arena a = {.pointers = out->memory, .text = (char *)out->memory + fields * sizeof(char *)};
  fields_read(&r, payload, length);
  while (fields_next(&r, &f))
    if (!take(out, &r, &f, &a)) break;
  if (r.why) return r.why;
  out->argv = collect(&a, payload, length, FIELD_ARG, &out->arg_count);
  out->env = collect(&a, payload, length, FIELD_ENV, &out->env_count);
  if (out->arg_count == 0 || out->argv[0][0] == 0) return "SPAWN names no program";
  if (out->detach && (out->pty || out->input)) return "a detached process has neither a terminal nor stdin";
  if (out->pty) out->input = true;
  return NULL;
}

void spawn_request_free(struct spawn_request *r) {
  free(r->memory);
  r->memory = NULL;
}
