#define _GNU_SOURCE
#include "unpack.h"

#include "unpack_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Zeros of this many bytes become a hole. */
#define HOLE_MIN 4096u

void unpack_start(struct unpack *u, const char *target, const char *top) {
  memset(u, 0, offsetof(struct unpack, levels));
  snprintf(u->target, sizeof u->target, "%s", target);
  snprintf(u->top, sizeof u->top, "%s", top);
  u->depth = 0;
  u->file = -1;
  u->entries = u->bytes = 0;
  u->message[0] = 0;
}

static int folder_of(const struct unpack *u) { return u->levels[u->depth - 1].folder; }

static void name_temporary(struct unpack *u) {
  uint64_t random = 0;
  (void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
  snprintf(u->temporary, sizeof u->temporary, ".polyvisor-%016llx", (unsigned long long)random);
}

/* What was made under the temporary name takes its own. */
static int take_name(struct unpack *u) {
  int error = renameat(folder_of(u), u->temporary, folder_of(u), u->leaf) < 0 ? -errno : 0;
  if (error == -EISDIR || error == -ENOTEMPTY || error == -EEXIST)
    unpack_fail(u, u->entry.name, error, "a folder has this name");
  else if (error) unpack_fail(u, u->entry.name, error, NULL);
  /* The rename of a hard link to another name of its own file does nothing: then this name is left over. */
  if (error || u->entry.type == TAR_HARD_LINK) unlinkat(folder_of(u), u->temporary, 0);
  return error;
}

static int make_folder(struct unpack *u, const struct tar_entry *e) {
  /* The target itself: it keeps what it has, unless we made it, and then it has got it already. */
  if (!u->leaf[0]) return 0;
  bool made = mkdirat(folder_of(u), u->leaf, 0700) == 0;
  if (!made && errno != EEXIST) return unpack_fail(u, e->name, -errno, NULL);
  int fd = openat(folder_of(u), u->leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return unpack_fail(u, e->name, -errno, errno == ENOTDIR || errno == ELOOP ? "a file has this name" : NULL);
  struct unpack_level *l = unpack_enter(u, fd, u->leaf);
  if (!l) {
    close(fd);
    return unpack_fail(u, e->name, -ENAMETOOLONG, "folders lie too deep");
  }
  l->made = made;
  l->mode = e->mode;
  l->uid = e->uid;
  l->gid = e->gid;
  l->mtime = (struct timespec){.tv_sec = e->mtime, .tv_nsec = (long)e->mtime_ns};
  return 0;
}

static int make_symlink(struct unpack *u, const struct tar_entry *e) {
  if (symlinkat(e->link, folder_of(u), u->temporary) < 0) return unpack_fail(u, e->name, -errno, NULL);
  int error = unpack_attributes(folder_of(u), u->temporary, e);
  if (!error) return take_name(u);
  unlinkat(folder_of(u), u->temporary, 0);
  return unpack_fail(u, e->name, error, NULL);
}

static int make_hard_link(struct unpack *u, const struct tar_entry *e) {
  char leaf[256];
  struct stat is;
  int from = unpack_find(u, e->link, leaf);
  if (from < 0) return unpack_fail(u, e->link, from, NULL);
  int error = fstatat(from, leaf, &is, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
  if (!error && !S_ISREG(is.st_mode)) error = -EINVAL;
  if (!error && linkat(from, leaf, folder_of(u), u->temporary, 0) < 0) error = -errno;
  close(from);
  if (error) return unpack_fail(u, e->link, error, error == -EINVAL ? "a hard link to what is no file" : NULL);
  return take_name(u);
}

static int make_file(struct unpack *u, const struct tar_entry *e) {
  u->hole = false;
  u->file = openat(folder_of(u), u->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  return u->file < 0 ? unpack_fail(u, e->name, -errno, NULL) : 0;
}

int unpack_entry(struct unpack *u, const struct tar_entry *e) {
  int error = u->placed ? 0 : unpack_place(u, e);
  if (!error) error = unpack_go_to(u, e->name, u->leaf);
  if (error) return error;
  if (!u->leaf[0] && e->type != TAR_FOLDER) return unpack_fail(u, e->name, -EINVAL, "an entry has no name");
  u->entry = *e;
  u->entries++;
  name_temporary(u);
  switch (e->type) {
  case TAR_FOLDER:
    return make_folder(u, e);
  case TAR_SYMLINK:
    return make_symlink(u, e);
  case TAR_HARD_LINK:
    return make_hard_link(u, e);
  default:
    return make_file(u, e);
  }
}

static bool all_zero(const uint8_t *data, size_t length) {
  return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

int unpack_data(struct unpack *u, const uint8_t *data, size_t length) {
  u->bytes += length;
  if (length >= HOLE_MIN && all_zero(data, length)) {
    u->hole = true;
    return lseek(u->file, (off_t)length, SEEK_CUR) < 0 ? unpack_fail(u, u->entry.name, -errno, NULL) : 0;
  }
  u->hole = false;
  while (length > 0) {
    ssize_t n = write(u->file, data, length);
    if (n < 0 && errno != EINTR) return unpack_fail(u, u->entry.name, -errno, NULL);
    if (n <= 0) continue;
    data += n;
    length -= (size_t)n;
  }
  return 0;
}

int unpack_done(struct unpack *u) {
  if (u->file < 0) return 0;
  int error = u->hole && ftruncate(u->file, (off_t)u->entry.size) < 0 ? -errno : 0;
  if (!error) error = unpack_attributes(u->file, "", &u->entry);
  if (error) return unpack_fail(u, u->entry.name, error, NULL);
  int fd = u->file;
  u->file = -1;
  /* Some file systems tell only now that there is no room. */
  if (close(fd) < 0 && errno != EINTR) {
    error = -errno;
    unlinkat(folder_of(u), u->temporary, 0);
    return unpack_fail(u, u->entry.name, error, NULL);
  }
  return take_name(u);
}

int unpack_end(struct unpack *u) {
  int error = 0;
  if (u->file >= 0) {
    close(u->file);
    unlinkat(folder_of(u), u->temporary, 0);
    u->file = -1;
  }
  while (u->depth > 0) {
    int failed = unpack_leave(u);
    if (!error) error = failed;
  }
  return error;
}
