#define _GNU_SOURCE
#include "pack_links.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct linked {
  dev_t device;
  ino_t inode;
  char name[];
};

static int compare(const void *a, const void *b) {
  const struct linked *x = a, *y = b;
  if (x->device != y->device) return x->device < y->device ? -1 : 1;
  return x->inode == y->inode ? 0 : x->inode < y->inode ? -1 : 1;
}

const char *pack_link(struct pack *p, const struct stat *is) {
  struct linked key = {.device = is->st_dev, .inode = is->st_ino};
  void *const *found = tfind(&key, &p->links, compare);
  if (found) return ((const struct linked *)*found)->name;
  size_t size = strlen(p->name) + 1;
  struct linked *l = p->links_size < PACK_LINKS_MAX ? malloc(sizeof *l + size) : NULL;
  if (!l) return NULL;
  *l = key;
  memcpy(l->name, p->name, size);
  if (tsearch(l, &p->links, compare)) p->links_size += sizeof *l + size;
  else free(l);
  return NULL;
}

void pack_forget_links(struct pack *p) {
  tdestroy(p->links, free);
  p->links = NULL;
}
