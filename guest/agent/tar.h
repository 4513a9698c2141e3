/* Tar archives as this agent reads and writes them: ustar, with POSIX' extended headers for what doesn't fit. */
#ifndef POLYVISOR_TAR_H
#define POLYVISOR_TAR_H

#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK 512u
/* Longest name or link, with its NUL: Linux' PATH_MAX. */
#define TAR_NAME_MAX 4096u

enum tar_type {
  TAR_FILE = '0',
  TAR_HARD_LINK = '1',
  TAR_SYMLINK = '2',
  TAR_CHARACTER_DEVICE = '3',
  TAR_BLOCK_DEVICE = '4',
  TAR_FOLDER = '5',
  TAR_FIFO = '6',
  TAR_CONTIGUOUS_FILE = '7',
  TAR_GLOBAL_PAX = 'g',
  TAR_PAX = 'x',
  TAR_GNU_LONG_LINK = 'K',
  TAR_GNU_LONG_NAME = 'L',
};

struct tar_entry {
  enum tar_type type; /* of a reader: file, link, symlink or folder */
  const char *name;
  const char *link; /* what a link points to; else empty */
  uint32_t mode;    /* permissions, set-id and sticky bits only */
  uint32_t uid, gid;
  int64_t mtime; /* seconds since the epoch, and nanoseconds from there on */
  uint32_t mtime_ns;
  uint64_t size; /* 0 unless a file */
  const uint8_t *records; /* of a writer: further records, as tar_write_record makes them */
  size_t records_length;
};

/* Bytes that fill the last block of a body. */
static inline uint32_t tar_padding(uint64_t size) {
  return (TAR_BLOCK - (uint32_t)(size % TAR_BLOCK)) % TAR_BLOCK;
}

/* Where a header's fields lie: each is an offset and a size. */
#define TAR_AT_NAME 0, 100
#define TAR_AT_MODE 100, 8
#define TAR_AT_UID 108, 8
#define TAR_AT_GID 116, 8
#define TAR_AT_SIZE 124, 12
#define TAR_AT_MTIME 136, 12
#define TAR_AT_CHECKSUM 148, 8
#define TAR_AT_TYPE 156
#define TAR_AT_LINK 157, 100
#define TAR_AT_MAGIC 257
#define TAR_AT_PREFIX 345, 155

#endif
