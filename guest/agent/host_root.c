#define _GNU_SOURCE
#include "host_root.h"

#include "console.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void must_write(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) console_die(path, errno);
  close(fd);
}

static void must_mount(const char *source, const char *at, const char *type, unsigned long flags) {
  if (mount(source, at, type, flags, NULL) < 0) console_die(at, errno);
}

/* In a user namespace this user is root, and nobody else is there. */
static void become_root(uid_t uid, gid_t gid) {
  char map[64];
  must_write("/proc/self/setgroups", "deny");
  snprintf(map, sizeof map, "0 %u 1", uid);
  must_write("/proc/self/uid_map", map);
  snprintf(map, sizeof map, "0 %u 1", gid);
  must_write("/proc/self/gid_map", map);
}

void host_root_enter(const char *folder) {
  static const char *const shown[] = {"/dev", "/proc", "/sys"};
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) < 0)
    console_die(uid == 0 ? "a mount namespace for the image" : "a user namespace for the image", errno);
  if (uid != 0) become_root(uid, gid);
  must_mount("none", "/", NULL, MS_REC | MS_PRIVATE);
  must_mount(folder, folder, NULL, MS_BIND);
  if (chdir(folder) < 0) console_die(folder, errno);
  for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
    const char *at = shown[i] + 1;
    if (mkdir(at, 0755) < 0 && errno != EEXIST) console_die(shown[i], errno);
    /* A link there would lead out of the folder. */
    struct stat found;
    if (lstat(at, &found) < 0 || !S_ISDIR(found.st_mode)) console_die(shown[i], ENOTDIR);
    must_mount(shown[i], at, NULL, MS_BIND | MS_REC);
  }
  mkdir("run", 0755);
  if (mkdir("tmp", 0755) == 0) chmod("tmp", 01777);
  mkdir("etc", 0755);
  if (chroot(".") < 0 || chdir("/") < 0) console_die(folder, errno);
  root_entered();
}
