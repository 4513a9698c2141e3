#define _GNU_SOURCE
#include "online.h"

#include "agent.h"
#include "modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM "/sys/devices/system"
#define POLICY "/sys/module/memory_hotplug/parameters"

static int write_file(int dir, const char *path, const char *text) {
  int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
  close(fd);
  return error;
}

static bool read_file(int dir, const char *path, char *text, size_t size) {
  int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
  if (fd >= 0) close(fd);
  text[n > 0 ? n : 0] = 0;
  return n > 0;
}

/* Only memory in the movable zone can be unplugged again, but the kernel's own data doesn't go there. By this policy the
   kernel divides new memory itself; up to 8 times the rest may be movable (its default is 3), since a small guest that is
   grown by gigabytes is to give them back. Kernels before 5.16 have no policy: all is movable there. */
void online_by_itself(void) {
  write_file(AT_FDCWD, POLICY "/auto_movable_ratio", "800");
  bool divided = write_file(AT_FDCWD, POLICY "/online_policy", "auto-movable") == 0;
  write_file(AT_FDCWD, SYSTEM "/memory/auto_online_blocks", divided ? "online" : "online_movable");
}

/* Brings the entries `prefix`N of a folder online by writing `on` to the `file` of those in which `off` is read. */
static int each(const char *path, const char *prefix, const char *file, const char *off, const char *on, uint64_t *count) {
  DIR *list = opendir(path);
  struct dirent *entry;
  int error = 0;
  size_t length = strlen(prefix);
  while (list && (entry = readdir(list))) {
    char name[300], state[32];
    if (strncmp(entry->d_name, prefix, length) != 0 || entry->d_name[length] < '0' || entry->d_name[length] > '9') continue;
    snprintf(name, sizeof name, "%s/%s", entry->d_name, file);
    /* A CPU that can't be taken offline has no such file. */
    bool is_off = read_file(dirfd(list), name, state, sizeof state) && strncmp(state, off, strlen(off)) == 0;
    int failed = is_off && agent.init ? write_file(dirfd(list), name, on) : 0;
    if (failed) error = failed;
    if (!is_off || (agent.init && !failed)) ++*count;
  }
  if (list) closedir(list);
  return error;
}

int online_all(struct field_writer *done, const char **why) {
  uint64_t cpus = 0, blocks = 0, block_bytes = 0;
  char text[32];
  if (agent.init) modules_load_late();
  int error = each(SYSTEM "/cpu", "cpu", "online", "0", "1", &cpus);
  if (error) *why = "a CPU can't be brought online";
  int failed = each(SYSTEM "/memory", "memory", "state", "offline", "online", &blocks);
  if (failed) *why = "a memory block can't be brought online";
  if (read_file(AT_FDCWD, SYSTEM "/memory/block_size_bytes", text, sizeof text)) block_bytes = strtoull(text, NULL, 16);
  fields_put_integer(done, FIELD_CPUS_ONLINE, cpus);
  fields_put_integer(done, FIELD_MEMORY_BLOCKS, blocks);
  fields_put_integer(done, FIELD_MEMORY_BLOCK_BYTES, block_bytes);
  return failed ? failed : error;
}

int online_rescan(void) { return agent.init ? write_file(AT_FDCWD, "/sys/bus/pci/rescan", "1") : 0; }
