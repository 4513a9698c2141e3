/* Finds the entries of a tar archive in a stream, however it is cut into pieces. Pure: it touches no file. */
#ifndef POLYVISOR_TAR_READ_H
#define POLYVISOR_TAR_READ_H

#include "tar.h"

#include <stdbool.h>

/* The longest extended header or long name that is taken. */
#define TAR_EXTENSION_MAX 32768u

enum tar_result {
  TAR_MORE,  /* all that was given is used up */
  TAR_ENTRY, /* an entry begins: tar_reader.entry, valid until the next entry */
  TAR_DATA,  /* bytes of its body: tar_reader.data, valid as long as what was given */
  TAR_DONE,  /* its body is over: comes after each entry */
  TAR_BAD,   /* not an archive, in tar_reader.why; nothing more can be read */
};

enum tar_state {
  TAR_IN_HEADER,
  TAR_IN_EXTENSION,
  TAR_IN_BODY,
  TAR_IN_PADDING,
  TAR_AFTER_END, /* both zero blocks have come: the rest is ignored */
  TAR_FAILED,
};

/* What an extended header says of the next entry. */
struct tar_overrides {
  bool name, link, size, uid, gid, mtime;
};

struct tar_reader {
  enum tar_state state;
  bool zero_block; /* the last block was zero: the next one is to be too */
  struct tar_entry entry;
  const uint8_t *data;
  size_t data_length;
  const char *why;

  uint64_t left; /* of the body, extension or padding that is being read */
  size_t have;   /* bytes of a header or an extension that are put together */
  uint32_t extension_padding;
  enum tar_type extension;
  struct tar_overrides overrides;
  uint8_t block[TAR_BLOCK];
  char name[TAR_NAME_MAX], link[TAR_NAME_MAX];
  char collected[TAR_EXTENSION_MAX + 1];
};

void tar_read_start(struct tar_reader *r);

/* Goes on with what is given, and advances it past what was used. */
enum tar_result tar_read(struct tar_reader *r, const uint8_t **at, size_t *length);

/* Whether the archive ended as it should: a stream that ends before is cut short. */
bool tar_read_complete(const struct tar_reader *r);

#endif
