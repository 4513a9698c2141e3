/* Reads a file or a tree of folders as a tar archive, piece by piece. */
#ifndef POLYVISOR_PACK_H
#define POLYVISOR_PACK_H

#include "tar_write.h"

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Folders inside each other that are gone down to. */
#define PACK_DEPTH_MAX 256u
/* Bytes for remembering the names of files that have several; what comes above is copied once for each name. */
#define PACK_LINKS_MAX (4u << 20)

struct pack_level {
  DIR *folder;
  size_t length; /* of the folder's own name */
  dev_t device;
};

struct pack {
  struct pack_level levels[PACK_DEPTH_MAX];
  unsigned depth;
  char name[TAR_NAME_MAX]; /* of the entry at hand, in the archive */
  uint8_t headers[TAR_HEADERS_MAX];
  size_t head, tail; /* what of them waits to be read */
  int file;          /* being read; -1: none */
  uint64_t left;     /* of its body */
  uint32_t padding;
  bool ended; /* the trailer has been made */
  bool image; /* as pack_start_image says */
  uint8_t records[TAR_RECORDS_MAX]; /* attributes of the entry at hand */
  void *links;
  size_t links_size;
  uint64_t entries, bytes, skipped;
  char first_skipped[512];
  char message[1024]; /* why it failed */
};

/* Begins with a path, absolute. With `follow` a link at its end is what it points to. Returns 0 or -errno with a message;
   pack_end is to be called either way. */
int pack_start(struct pack *p, const char *path, bool follow);

/* Begins with `/`, as what an image is made of: with attributes and fifos, without what is mounted there, and with those files empty that the
   agent has supplied. Returns as pack_start does. */
int pack_start_image(struct pack *p);

/* Puts at most `size` bytes of the archive. Returns how many, 0 at its end, or -errno with a message. */
ssize_t pack_read(struct pack *p, uint8_t *at, size_t size);

void pack_end(struct pack *p);

#endif
