/* Which files of a tree are one file under several names. */
#ifndef POLYVISOR_PACK_LINKS_H
#define POLYVISOR_PACK_LINKS_H

#include "pack.h"

/* The name under which the archive has this file already; NULL: from now on it is the name at hand. */
const char *pack_link(struct pack *p, const struct stat *is);

void pack_forget_links(struct pack *p);

#endif
