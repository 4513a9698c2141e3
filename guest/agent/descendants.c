#include "descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process_row {
  pid_t pid, parent;
  bool inside;
};

struct rows {
  struct process_row *at;
  size_t count, room;
};

/* The parent, field 4 of /proc/PID/stat: the name before it is in brackets and may hold anything. Zombies count not. */
static pid_t parent_of(const char *pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return -1;
  text[n] = 0;
  const char *after = strrchr(text, ')');
  char state;
  int parent;
  if (!after || sscanf(after + 1, " %c %d", &state, &parent) != 2) return -1;
  return state == 'Z' || state == 'X' ? -1 : parent;
}

static void add_row(struct rows *r, pid_t pid, pid_t parent) {
  if (r->count == r->room) {
    size_t room = r->room ? r->room * 2 : 256;
    struct process_row *at = realloc(r->at, room * sizeof *at);
    if (!at) return; /* the rest is found by the next pass */
    r->at = at;
    r->room = room;
  }
  r->at[r->count++] = (struct process_row){.pid = pid, .parent = parent};
}

static struct rows read_rows(void) {
  struct rows r = {0};
  DIR *proc = opendir("/proc");
  if (!proc) return r;
  struct dirent *entry;
  while ((entry = readdir(proc))) {
    int pid = atoi(entry->d_name);
    if (pid <= 0) continue;
    pid_t parent = parent_of(entry->d_name);
    if (parent >= 0) add_row(&r, pid, parent);
  }
  closedir(proc);
  return r;
}

static bool is_inside(const struct rows *r, pid_t pid) {
  for (size_t i = 0; i < r->count; i++)
    if (r->at[i].pid == pid) return r->at[i].inside;
  return false;
}

void children_each(pid_t parent, bool (*act)(pid_t, void *), void *arg) {
  struct rows r = read_rows();
  for (size_t i = 0; i < r.count; i++)
    if (r.at[i].parent == parent) act(r.at[i].pid, arg);
  free(r.at);
}

void descendants_each(pid_t root, bool (*act)(pid_t, void *), void *arg) {
  struct rows r = read_rows();
  bool grew = true;
  while (grew) {
    grew = false;
    for (size_t i = 0; i < r.count; i++) {
      struct process_row *p = &r.at[i];
      if (p->inside || (p->parent != root && !is_inside(&r, p->parent))) continue;
      p->inside = grew = true;
    }
  }
  for (size_t i = 0; i < r.count; i++)
    if (r.at[i].inside) act(r.at[i].pid, arg);
  free(r.at);
}
