#define _GNU_SOURCE
#include "pack_xattrs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

/* As GNU tar, libarchive and every builder of images name them. */
#define PREFIX "SCHILY.xattr."
#define NAMES_MAX 4096u
#define RECORD_REST 24u

/* What belongs to a file wherever it is; not what this guest's kernel keeps there for itself. */
static bool is_kept(const char *name) {
  static const char *const kept[] = {"security.capability", "system.posix_acl_", "user."};
  for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
    if (strncmp(name, kept[i], strlen(kept[i])) == 0) return true;
  return false;
}

static int add(struct pack *p, int fd, const char *name, size_t *length) {
  uint8_t value[TAR_RECORDS_MAX / 2];
  char key[sizeof PREFIX + 256];
  ssize_t n = fgetxattr(fd, name, value, sizeof value);
  /* Gone since the names were read. */
  if (n < 0) return errno == ENODATA ? 0 : errno == ERANGE ? -E2BIG : -errno;
  size_t key_length = (size_t)snprintf(key, sizeof key, PREFIX "%s", name);
  if (key_length >= sizeof key) return -E2BIG;
  if (*length + key_length + (size_t)n + RECORD_REST > sizeof p->records) return -E2BIG;
  *length += tar_write_record(p->records + *length, key, value, (size_t)n);
  return 0;
}

int pack_xattrs(struct pack *p, int fd, struct tar_entry *e) {
  char names[NAMES_MAX];
  size_t length = 0;
  ssize_t n = flistxattr(fd, names, sizeof names);
  if (n < 0) return errno == EOPNOTSUPP ? 0 : errno == ERANGE ? -E2BIG : -errno;
  for (const char *name = names; name < names + n; name += strlen(name) + 1) {
    int error = is_kept(name) ? add(p, fd, name, &length) : 0;
    if (error) return error;
  }
  e->records = p->records;
  e->records_length = length;
  return 0;
}
