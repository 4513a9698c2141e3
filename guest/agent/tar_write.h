/* Makes the headers of a tar archive. Pure: it touches no file. */
#ifndef POLYVISOR_TAR_WRITE_H
#define POLYVISOR_TAR_WRITE_H

#include "tar.h"

/* Further records of one entry, at most. */
#define TAR_RECORDS_MAX 32768u
/* Room that the headers of any entry fit: both headers, and the records for two long names and five numbers, and the further ones. */
#define TAR_HEADERS_MAX (4u * TAR_BLOCK + 2u * TAR_NAME_MAX + TAR_RECORDS_MAX)
/* Two zero blocks end an archive. */
#define TAR_TRAILER (2u * TAR_BLOCK)

/* Writes the entry's headers, with an extended one where something doesn't fit the plain one. Returns their size. */
size_t tar_write_entry(const struct tar_entry *e, uint8_t *out);

/* Writes one record of an extended header. It takes 24 bytes at most beside key and value. Returns its size. */
size_t tar_write_record(uint8_t *at, const char *key, const void *value, size_t length);

#endif
