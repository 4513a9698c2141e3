/* Writes the entries of an archive into a folder. A file appears under its name when it is whole; no link is followed. */
#ifndef POLYVISOR_UNPACK_H
#define POLYVISOR_UNPACK_H

#include "tar.h"

#include <stdbool.h>
#include <sys/types.h>

/* Folders inside each other that an archive may have. */
#define UNPACK_DEPTH_MAX 256u

struct unpack_level {
  int folder;
  char name[256];
  bool made; /* by us: the attributes below are set when it is left */
  mode_t mode;
  uid_t uid;
  gid_t gid;
  struct timespec mtime;
};

struct unpack {
  char target[TAR_NAME_MAX]; /* absolute */
  char top[256];             /* the one entry that the archive holds, placed by cp's rules; empty: entries go into the target */
  char renamed[256];         /* what takes the top's place in names; empty: nothing */
  bool placed, strip;        /* the target is known; the top is not part of names */
  struct unpack_level levels[UNPACK_DEPTH_MAX];
  unsigned depth; /* levels in use; the first is where names begin */
  int file;       /* being written; -1: none */
  bool hole;      /* the file ends in one so far */
  char leaf[256], temporary[32];
  struct tar_entry entry;
  uint64_t entries, bytes;
  char message[1024]; /* why it failed */
};

/* The strings are bounded by the caller. */
void unpack_start(struct unpack *u, const char *target, const char *top);

/* The three parts of an entry. Each returns 0, or -errno with a message; then only unpack_end may follow. */
int unpack_entry(struct unpack *u, const struct tar_entry *e);
int unpack_data(struct unpack *u, const uint8_t *data, size_t length);
int unpack_done(struct unpack *u);

/* Gives the folders their attributes and closes all. A file that isn't whole is removed. Returns 0 or -errno with a message. */
int unpack_end(struct unpack *u);

#endif
