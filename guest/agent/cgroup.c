#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define CPU_PERIOD_US 100000u
#define DEPTH_MAX 16 /* groups within groups: a guest may nest deeper, and then keeps its empty folders */

static int parent = -1;
static bool limits_on;

/* A group that has served and is empty: making and removing one are a good part of a short command's time. */
static struct {
  uint32_t id;
  int group;
} spare = {.group = -1}, left = {.group = -1};
static uint32_t last_id;

static int write_file(int dir, const char *name, const char *text) {
  int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t n = write(fd, text, strlen(text));
  int error = n < 0 ? -errno : 0;
  close(fd);
  return error;
}

void cgroup_open(void) {
  if (mkdir(ROOT "/polyvisor", 0755) < 0 && errno != EEXIST) return;
  int fd = open(ROOT "/polyvisor", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  /* Kernels before 5.14 have no cgroup.kill. */
  if (faccessat(fd, "cgroup.kill", W_OK, 0) < 0) {
    close(fd);
    return;
  }
  parent = fd;
}

bool cgroup_usable(void) { return parent >= 0; }

/* Controllers are switched on at the first limit: it costs every later fork a little. */
static int switch_limits_on(void) {
  if (limits_on) return 0;
  int root = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return -errno;
  int error = write_file(root, "cgroup.subtree_control", "+memory +pids +cpu");
  close(root);
  if (!error) error = write_file(parent, "cgroup.subtree_control", "+memory +pids +cpu");
  limits_on = !error;
  return error;
}

static int set_limit(int group, const char *name, uint64_t value) {
  char text[32];
  if (value == 0) return 0;
  snprintf(text, sizeof text, "%" PRIu64, value);
  return write_file(group, name, text);
}

/* CPU time as `quota period`, both in microseconds. */
static int set_cpu(int group, uint64_t thousandths) {
  char text[64];
  if (thousandths == 0) return 0;
  snprintf(text, sizeof text, "%" PRIu64 " %u", thousandths * (CPU_PERIOD_US / 1000), CPU_PERIOD_US);
  return write_file(group, "cpu.max", text);
}

bool limits_any(const struct limits *l) { return l->pids || l->memory || l->cpu; }

int cgroup_make(uint32_t *id, const struct limits *limits) {
  char name[16];
  cgroup_tidy();
  if (spare.group >= 0 && !limits_any(limits) && !limits_on) {
    int group = spare.group;
    *id = spare.id;
    spare.group = -1;
    return group;
  }
  *id = ++last_id;
  if (limits_any(limits)) {
    int error = switch_limits_on();
    if (error) return error;
  }
  snprintf(name, sizeof name, "%" PRIu32, *id);
  if (mkdirat(parent, name, 0755) < 0) return -errno;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = fd < 0 ? -errno : 0;
  if (!error) error = set_limit(fd, "pids.max", limits->pids);
  if (!error) error = set_limit(fd, "memory.max", limits->memory);
  if (!error) error = set_cpu(fd, limits->cpu);
  if (!error) return fd;
  if (fd >= 0) close(fd);
  unlinkat(parent, name, AT_REMOVEDIR);
  return error;
}

int cgroup_enter(int group, pid_t pid) {
  char text[16];
  snprintf(text, sizeof text, "%d", (int)pid);
  return write_file(group, "cgroup.procs", text);
}

static unsigned freezes;

void cgroup_freeze(bool freeze) {
  freezes += freeze ? 1 : -1u;
  if (parent >= 0) write_file(parent, "cgroup.freeze", freezes > 0 ? "1" : "0");
}

bool cgroup_frozen(void) { return freezes > 0; }

void cgroup_kill(int group) { write_file(group, "cgroup.kill", "1"); }

/* Runs `act` on the group `dir` and, after it or before it as `act` likes, on the groups inside. Closes `dir`. */
static void each_inside(int dir, void (*act)(int dir, void *arg, int depth), void *arg, int depth) {
  DIR *list = fdopendir(dir);
  if (!list) {
    close(dir);
    return;
  }
  struct dirent *entry;
  while (depth < DEPTH_MAX && (entry = readdir(list))) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    int inner = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0) continue;
    act(inner, arg, depth + 1);
  }
  closedir(list);
}

struct sending {
  int signal, error;
};

static void signal_group(int dir, void *arg, int depth) {
  struct sending *s = arg;
  int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  FILE *list = fd < 0 ? NULL : fdopen(fd, "r");
  if (list) {
    int pid;
    while (fscanf(list, "%d", &pid) == 1)
      if (pid > 0 && kill(pid, s->signal) < 0 && errno != ESRCH) s->error = -errno;
    fclose(list);
  }
  each_inside(dir, signal_group, s, depth);
}

int cgroup_signal(int group, int signal) {
  struct sending s = {.signal = signal};
  int dir = openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return -errno;
  signal_group(dir, &s, 0);
  return s.error;
}

static bool read_file(int dir, const char *name, char *text, size_t size) {
  int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  if (n < 0) return false;
  text[n] = 0;
  return true;
}

bool cgroup_ran_out_of_memory(int group) {
  char text[512];
  if (!limits_on || !read_file(group, "memory.events", text, sizeof text)) return false;
  const char *at = strstr(text, "oom_kill ");
  return at && strtoull(at + strlen("oom_kill "), NULL, 10) > 0;
}

bool cgroup_keep(uint32_t id, int group) {
  char text[256];
  struct stat st;
  /* With limits a group also counts what happened in it. Folders inside it show in the number of links. */
  if (spare.group >= 0 || limits_on || fstat(group, &st) < 0 || st.st_nlink != 2) return false;
  if (!read_file(group, "cgroup.events", text, sizeof text)) return false;
  if (!strstr(text, "populated 0") || !strstr(text, "frozen 0")) return false;
  spare.id = id;
  spare.group = group;
  return true;
}

static void remove_inside(int dir, void *arg, int depth) {
  (void)arg;
  int self = dup(dir);
  each_inside(dir, remove_inside, NULL, depth);
  if (self < 0) return;
  DIR *list = fdopendir(self);
  if (!list) {
    close(self);
    return;
  }
  rewinddir(list);
  struct dirent *entry;
  while ((entry = readdir(list)))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') unlinkat(self, entry->d_name, AT_REMOVEDIR);
  closedir(list);
}

int cgroup_remove(uint32_t id) {
  char name[16];
  snprintf(name, sizeof name, "%" PRIu32, id);
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return errno == ENOENT ? 0 : -errno;
  char text[256];
  if (read_file(dir, "cgroup.events", text, sizeof text) && strstr(text, "populated 1")) {
    close(dir);
    return -EBUSY;
  }
  remove_inside(dir, NULL, 0);
  /* Nobody is left in it; a folder that stays all the same (nested too deep) costs nothing but itself. */
  unlinkat(parent, name, AT_REMOVEDIR);
  return 0;
}

int cgroup_open_events(int group) {
  int fd = openat(group, "cgroup.events", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

bool cgroup_populated(int events) {
  char text[256];
  ssize_t n = pread(events, text, sizeof text - 1, 0);
  if (n < 0) return false;
  text[n] = 0;
  return strstr(text, "populated 1") != NULL;
}

bool cgroup_leave(uint32_t id, int group) {
  if (left.group >= 0 || limits_on) return false;
  left.id = id;
  left.group = group;
  return true;
}

void cgroup_tidy(void) {
  if (left.group < 0) return;
  int group = left.group;
  left.group = -1;
  if (cgroup_keep(left.id, group)) return;
  /* Somebody was moved into it from outside: it ends as the tree did. */
  if (cgroup_remove(left.id) == -EBUSY) cgroup_kill(group);
  close(group);
}
