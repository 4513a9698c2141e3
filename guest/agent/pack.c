#define _GNU_SOURCE
#include "pack.h"

#include "pack_links.h"
#include "pack_xattrs.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

static int fail(struct pack *p, const char *name, int error, const char *why) {
  snprintf(p->message, sizeof p->message, "%.900s: %s", name, why ? why : strerror(-error));
  return error;
}

static struct tar_entry entry_of(const struct pack *p, const struct stat *is) {
  return (struct tar_entry){
      .name = p->name,
      .link = "",
      .mode = is->st_mode & 07777,
      .uid = is->st_uid,
      .gid = is->st_gid,
      .mtime = is->st_mtim.tv_sec,
      .mtime_ns = (uint32_t)is->st_mtim.tv_nsec,
  };
}

static void put(struct pack *p, const struct tar_entry *e) {
  p->head = 0;
  p->tail = tar_write_entry(e, p->headers);
  p->entries++;
}

/* Kernel tables that look like files: they have no end, or no size, and mean nothing elsewhere. */
static bool is_pseudo(int folder) {
  struct statfs fs;
  if (fstatfs(folder, &fs) < 0) return false;
  switch ((unsigned long)fs.f_type) {
  case PROC_SUPER_MAGIC:
  case SYSFS_MAGIC:
  case CGROUP2_SUPER_MAGIC:
  case DEVPTS_SUPER_MAGIC:
    return true;
  default:
    return false;
  }
}

/* The folder's own entry now; what is in it next. The descriptor is the level's, or is closed. */
static int pack_folder(struct pack *p, int fd) {
  struct stat is;
  size_t length = strlen(p->name);
  int error = fstat(fd, &is) < 0 ? -errno : 0;
  if (!error && p->depth >= PACK_DEPTH_MAX) error = -ENAMETOOLONG;
  if (!error && length + 2 > sizeof p->name) error = -ENAMETOOLONG;
  if (error) {
    close(fd);
    return fail(p, p->name, error, NULL);
  }
  memcpy(p->name + length, "/", 2);
  struct tar_entry e = entry_of(p, &is);
  e.type = TAR_FOLDER;
  error = p->image ? pack_xattrs(p, fd, &e) : 0;
  if (error) {
    close(fd);
    return fail(p, p->name, error, error == -E2BIG ? "its attributes are too large" : NULL);
  }
  put(p, &e);
  bool crosses = p->depth > 0 && p->levels[p->depth - 1].device != is.st_dev;
  if (crosses && (p->image || is_pseudo(fd))) {
    close(fd);
    return 0;
  }
  DIR *folder = fdopendir(fd);
  if (!folder) {
    error = -errno;
    close(fd);
    return fail(p, p->name, error, NULL);
  }
  p->levels[p->depth++] = (struct pack_level){.folder = folder, .length = length + 1, .device = is.st_dev};
  return 0;
}

/* As the descriptor says: the name may be another file's by now. */
static int pack_file(struct pack *p, int fd) {
  struct stat is;
  int error = fstat(fd, &is) < 0 ? -errno : !S_ISREG(is.st_mode) ? -ESTALE : 0;
  if (error) {
    close(fd);
    return fail(p, p->name, error, NULL);
  }
  struct tar_entry e = entry_of(p, &is);
  const char *first = is.st_nlink > 1 ? pack_link(p, &is) : NULL;
  if (first) {
    e.type = TAR_HARD_LINK;
    e.link = first;
    close(fd);
    put(p, &e);
    return 0;
  }
  e.type = TAR_FILE;
  e.size = p->image && root_supplied(p->name + 1) ? 0 : (uint64_t)is.st_size;
  error = p->image ? pack_xattrs(p, fd, &e) : 0;
  if (error) {
    close(fd);
    return fail(p, p->name, error, error == -E2BIG ? "its attributes are too large" : NULL);
  }
  put(p, &e);
  p->file = fd;
  p->left = e.size;
  p->padding = tar_padding(e.size);
  return 0;
}

static int pack_symlink(struct pack *p, int folder, const char *leaf, const struct stat *is) {
  char link[TAR_NAME_MAX];
  ssize_t n = readlinkat(folder, leaf, link, sizeof link);
  if (n < 0 || n == sizeof link) return fail(p, p->name, n < 0 ? -errno : -ENAMETOOLONG, NULL);
  link[n] = 0;
  struct tar_entry e = entry_of(p, is);
  e.type = TAR_SYMLINK;
  e.link = link;
  put(p, &e);
  return 0;
}

static int pack_fifo(struct pack *p, const struct stat *is) {
  struct tar_entry e = entry_of(p, is);
  e.type = TAR_FIFO;
  put(p, &e);
  return 0;
}

static void skip(struct pack *p) {
  if (p->skipped++ == 0) snprintf(p->first_skipped, sizeof p->first_skipped, "%.500s", p->name);
}

/* One name in a folder. */
static int pack_name(struct pack *p, int folder, const char *leaf, bool follow) {
  struct stat is;
  int link = follow ? 0 : O_NOFOLLOW;
  if (fstatat(folder, leaf, &is, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) return fail(p, p->name, -errno, NULL);
  if (S_ISLNK(is.st_mode)) return pack_symlink(p, folder, leaf, &is);
  if (S_ISFIFO(is.st_mode) && p->image) return pack_fifo(p, &is);
  if (!S_ISDIR(is.st_mode) && !S_ISREG(is.st_mode)) {
    /* A socket means nothing without its process. */
    if (S_ISSOCK(is.st_mode) && p->image) return 0;
    skip(p);
    return 0;
  }
  /* Should a fifo take the file's place now, the open must not wait for a writer. */
  int fd = openat(folder, leaf, O_RDONLY | O_CLOEXEC | O_NONBLOCK | link | (S_ISDIR(is.st_mode) ? O_DIRECTORY : 0));
  if (fd < 0) return fail(p, p->name, -errno, NULL);
  return S_ISDIR(is.st_mode) ? pack_folder(p, fd) : pack_file(p, fd);
}

static void reset(struct pack *p, bool image) {
  p->image = image;
  p->depth = 0;
  p->head = p->tail = 0;
  p->file = -1;
  p->left = p->entries = p->bytes = p->skipped = 0;
  p->padding = 0;
  p->ended = false;
  p->links = NULL;
  p->links_size = 0;
  p->first_skipped[0] = p->message[0] = 0;
}

int pack_start_image(struct pack *p) {
  reset(p, true);
  strcpy(p->name, ".");
  return pack_name(p, AT_FDCWD, "/", false);
}

int pack_start(struct pack *p, const char *path, bool follow) {
  reset(p, false);
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t start = end;
  while (start > 0 && path[start - 1] != '/') start--;
  size_t length = end - start;
  if (length == 2 && memcmp(path + start, "..", 2) == 0) return fail(p, path, -EINVAL, "name the folder itself");
  if (length == 0) strcpy(p->name, ".");
  else snprintf(p->name, sizeof p->name, "%.*s", (int)length, path + start);
  int error = pack_name(p, AT_FDCWD, path, follow);
  return error ? error : p->skipped ? fail(p, path, -EINVAL, "sockets, fifos and devices are not copied") : 0;
}

/* Makes the headers of the next entry; the trailer at the end. */
static int advance(struct pack *p) {
  while (p->depth > 0) {
    struct pack_level *l = &p->levels[p->depth - 1];
    errno = 0;
    struct dirent *found = readdir(l->folder);
    if (!found && errno) return fail(p, p->name, -errno, NULL);
    if (!found) {
      closedir(l->folder);
      p->depth--;
      continue;
    }
    if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0) continue;
    size_t length = strlen(found->d_name);
    if (l->length + length >= sizeof p->name) {
      p->name[l->length] = 0;
      return fail(p, p->name, -ENAMETOOLONG, NULL);
    }
    memcpy(p->name + l->length, found->d_name, length + 1);
    int error = pack_name(p, dirfd(l->folder), found->d_name, false);
    /* Gone since the folder was read: then it isn't in the folder. */
    if (error == -ENOENT) p->message[0] = 0;
    else if (error) return error;
    if (p->tail > p->head) return 0;
  }
  memset(p->headers, 0, TAR_TRAILER);
  p->head = 0;
  p->tail = TAR_TRAILER;
  p->ended = true;
  return 0;
}

static ssize_t read_file(struct pack *p, uint8_t *at, size_t size) {
  ssize_t n;
  do n = read(p->file, at, p->left < size ? (size_t)p->left : size);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail(p, p->name, -errno, NULL);
  if (n == 0) return fail(p, p->name, -EIO, "the file became shorter while it was read");
  p->left -= (uint64_t)n;
  p->bytes += (uint64_t)n;
  return n;
}

ssize_t pack_read(struct pack *p, uint8_t *at, size_t size) {
  size_t done = 0;
  while (done < size) {
    size_t room = size - done, n = p->tail - p->head;
    if (n > 0) {
      if (n > room) n = room;
      memcpy(at + done, p->headers + p->head, n);
      p->head += n;
    } else if (p->left > 0) {
      ssize_t got = read_file(p, at + done, room);
      if (got < 0) return got;
      n = (size_t)got;
    } else if (p->padding > 0) {
      n = p->padding < room ? p->padding : room;
      memset(at + done, 0, n);
      p->padding -= (uint32_t)n;
    } else if (!p->ended) {
      if (p->file >= 0) close(p->file);
      p->file = -1;
      int error = advance(p);
      if (error) return error;
    } else {
      break;
    }
    done += n;
  }
  return (ssize_t)done;
}

void pack_end(struct pack *p) {
  if (p->file >= 0) close(p->file);
  p->file = -1;
  while (p->depth > 0) closedir(p->levels[--p->depth].folder);
  pack_forget_links(p);
}
