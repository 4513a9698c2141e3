/* Extended attributes of files on their way into an archive. */
#ifndef POLYVISOR_PACK_XATTRS_H
#define POLYVISOR_PACK_XATTRS_H

#include "pack.h"

/* Gives an entry the attributes of its file: capabilities, lists of access, and what users set. Returns 0, or -errno: -E2BIG for more than
   TAR_RECORDS_MAX. */
int pack_xattrs(struct pack *p, int fd, struct tar_entry *e);

#endif
