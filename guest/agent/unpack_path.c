#define _GNU_SOURCE
#include "unpack_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int unpack_fail(struct unpack *u, const char *name, int error, const char *why) {
  /* The first failure is the one that counts. */
  if (!u->message[0]) snprintf(u->message, sizeof u->message, "%.900s: %s", name, why ? why : strerror(-error));
  return error;
}

int unpack_attributes(int folder, const char *name, const struct tar_entry *e) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = e->mtime, .tv_nsec = (long)e->mtime_ns}};
  int flags = AT_SYMLINK_NOFOLLOW;
  /* Only root may give files away: everybody else keeps what they made. */
  if (geteuid() == 0) {
    int failed = *name ? fchownat(folder, name, e->uid, e->gid, flags) : fchown(folder, e->uid, e->gid);
    if (failed < 0) return -errno;
  }
  if (*name) return utimensat(folder, name, times, flags) < 0 ? -errno : 0;
  /* After the owner, whose change clears the set-id bits. */
  if (fchmod(folder, e->mode) < 0 || futimens(folder, times) < 0) return -errno;
  return 0;
}

struct unpack_level *unpack_enter(struct unpack *u, int folder, const char *name) {
  if (u->depth >= UNPACK_DEPTH_MAX) return NULL;
  struct unpack_level *l = &u->levels[u->depth++];
  memset(l, 0, sizeof *l);
  l->folder = folder;
  snprintf(l->name, sizeof l->name, "%s", name);
  return l;
}

int unpack_leave(struct unpack *u) {
  struct unpack_level *l = &u->levels[--u->depth];
  struct tar_entry e = {.mode = l->mode, .uid = l->uid, .gid = l->gid, .mtime = l->mtime.tv_sec, .mtime_ns = (uint32_t)l->mtime.tv_nsec};
  int error = l->made ? unpack_attributes(l->folder, "", &e) : 0;
  close(l->folder);
  return error ? unpack_fail(u, l->name, error, NULL) : 0;
}

/* Splits an absolute path before its last part, and that from slashes at its end. Returns whether there were any. */
static bool split(const char *path, char *parent, const char **last, size_t *length) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t start = end;
  while (path[start - 1] != '/') start--;
  memcpy(parent, path, start);
  parent[start] = 0;
  *last = path + start;
  *length = end - start;
  return path[end] == '/';
}

static int open_level(struct unpack *u, const char *path) {
  int fd = open(path, FOLDER);
  if (fd < 0) return unpack_fail(u, path, -errno, NULL);
  unpack_enter(u, fd, path);
  return 0;
}

/* A folder that doesn't exist yet takes the place of the archive's own. */
static int place_folder(struct unpack *u, const struct tar_entry *first) {
  if (mkdir(u->target, 0700) < 0) return unpack_fail(u, u->target, -errno, NULL);
  int error = open_level(u, u->target);
  if (error) return error;
  struct unpack_level *l = &u->levels[0];
  l->made = true;
  l->mode = first->mode;
  l->uid = first->uid;
  l->gid = first->gid;
  l->mtime = (struct timespec){.tv_sec = first->mtime, .tv_nsec = (long)first->mtime_ns};
  u->strip = strcmp(u->top, ".") != 0;
  return 0;
}

static int place_file(struct unpack *u) {
  char parent[TAR_NAME_MAX];
  const char *last;
  size_t length;
  bool folder = split(u->target, parent, &last, &length);
  if (folder || (length == 1 && last[0] == '.') || (length == 2 && memcmp(last, "..", 2) == 0))
    return unpack_fail(u, u->target, -ENOENT, "no such folder");
  if (length >= sizeof u->renamed) return unpack_fail(u, u->target, -ENAMETOOLONG, NULL);
  memcpy(u->renamed, last, length);
  u->renamed[length] = 0;
  return open_level(u, parent);
}

int unpack_place(struct unpack *u, const struct tar_entry *first) {
  struct stat is;
  bool there = stat(u->target, &is) == 0;
  u->placed = true;
  if (!there && errno != ENOENT) return unpack_fail(u, u->target, -errno, NULL);
  if ((there && S_ISDIR(is.st_mode)) || !u->top[0]) return open_level(u, u->target);
  if (first->type != TAR_FOLDER) return place_file(u);
  if (there) return unpack_fail(u, u->target, -ENOTDIR, "a folder can't take the place of a file");
  return place_folder(u, first);
}

/* The next part of a name, after any `.`. Returns its length; 0 at the end; -1 for what no archive may say. */
static ssize_t next_part(const char **at, const char **part) {
  for (;;) {
    while (**at == '/') ++*at;
    *part = *at;
    size_t length = strcspn(*at, "/");
    *at += length;
    if (length == 1 && (*part)[0] == '.') continue;
    if ((length == 2 && memcmp(*part, "..", 2) == 0) || length > 255) return -1;
    return (ssize_t)length;
  }
}

/* The parts of a name as they are below the first level. */
struct parts {
  const char *at;
  bool first, bad;
};

static bool next(struct unpack *u, struct parts *p, char *out) {
  const char *part;
  for (;;) {
    ssize_t length = next_part(&p->at, &part);
    if (length <= 0) {
      p->bad = length < 0;
      return false;
    }
    memcpy(out, part, (size_t)length);
    out[length] = 0;
    if (!p->first || !u->top[0] || strcmp(u->top, ".") == 0) return true;
    p->first = false;
    if (strcmp(out, u->top) != 0) {
      p->bad = true;
      return false;
    }
    if (u->strip) continue;
    if (u->renamed[0]) strcpy(out, u->renamed);
    return true;
  }
}

static struct parts start(const char *name) {
  return (struct parts){.at = name, .first = true, .bad = name[0] == '/'};
}

static int refuse(struct unpack *u, const char *name) {
  return unpack_fail(u, name, -EINVAL, "a name that leads out of the archive");
}

/* One folder further down, which is made when it isn't there. */
static int descend(struct unpack *u, const char *name, const char *part) {
  int above = u->levels[u->depth - 1].folder;
  int fd = openat(above, part, FOLDER | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT) {
    if (mkdirat(above, part, 0755) < 0) return unpack_fail(u, name, -errno, NULL);
    fd = openat(above, part, FOLDER | O_NOFOLLOW);
  }
  if (fd < 0) {
    bool link = errno == ELOOP || errno == ENOTDIR;
    return unpack_fail(u, name, link ? -ENOTDIR : -errno, link ? "a link or a file is where a folder should be" : NULL);
  }
  if (unpack_enter(u, fd, part)) return 0;
  close(fd);
  return unpack_fail(u, name, -ENAMETOOLONG, "folders lie too deep");
}

int unpack_go_to(struct unpack *u, const char *name, char *leaf) {
  struct parts p = start(name);
  char part[256], following[256];
  unsigned at = 1;
  leaf[0] = 0;
  if (p.bad) return refuse(u, name);
  bool some = next(u, &p, part);
  while (some && next(u, &p, following)) {
    if (at < u->depth && strcmp(u->levels[at].name, part) != 0)
      while (u->depth > at) {
        int error = unpack_leave(u);
        if (error) return error;
      }
    if (at == u->depth) {
      int error = descend(u, name, part);
      if (error) return error;
    }
    at++;
    strcpy(part, following);
  }
  if (p.bad) return refuse(u, name);
  while (u->depth > at) {
    int error = unpack_leave(u);
    if (error) return error;
  }
  if (some) strcpy(leaf, part);
  return 0;
}

int unpack_find(struct unpack *u, const char *name, char *leaf) {
  struct parts p = start(name);
  char following[256];
  leaf[0] = 0;
  if (p.bad) return -EINVAL;
  int fd = fcntl(u->levels[0].folder, F_DUPFD_CLOEXEC, 3);
  bool some = next(u, &p, leaf);
  while (fd >= 0 && some && next(u, &p, following)) {
    int below = openat(fd, leaf, FOLDER | O_NOFOLLOW);
    int error = errno;
    close(fd);
    errno = error;
    fd = below;
    strcpy(leaf, following);
  }
  if (fd < 0) return -errno;
  if (some && !p.bad) return fd;
  close(fd);
  return -EINVAL;
}
