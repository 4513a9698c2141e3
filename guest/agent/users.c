#define _GNU_SOURCE
#include "users.h"

#include "agent.h"

#include <errno.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 65536

/* Splits `line` at colons, in place. Returns how many columns there are, at most `max`. */
static int split(char *line, char **column, int max) {
  int count = 0;
  line[strcspn(line, "\r\n")] = 0;
  while (count < max) {
    column[count++] = line;
    line = strchr(line, ':');
    if (!line) break;
    *line++ = 0;
  }
  return count;
}

/* A whole number that fits an id; -1 as an id means "no change" to the kernel and is none. */
static bool parse_id(const char *text, uint32_t *out) {
  char *end;
  if (text[0] < '0' || text[0] > '9') return false;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end || errno || value >= UINT32_MAX) return false;
  *out = (uint32_t)value;
  return true;
}

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

/* Calls `each` with the columns of every line until it returns true; says whether it did. */
static bool each_line(const char *path, int columns, bool (*each)(char **, void *), void *arg) {
  FILE *file = fopen(path, "re");
  if (!file) return false;
  char *line = NULL;
  size_t room = 0;
  bool found = false;
  while (!found && getline(&line, &room, file) > 0) {
    char *column[8];
    if (strlen(line) < LINE_MAX_BYTES && split(line, column, 8) >= columns) found = each(column, arg);
  }
  free(line);
  fclose(file);
  return found;
}

struct passwd_query {
  const char *name; /* NULL: by uid */
  uint32_t uid;
  struct user *out;
};

static bool match_passwd(char **column, void *arg) {
  struct passwd_query *q = arg;
  uint32_t uid, gid;
  if (!parse_id(column[2], &uid) || !parse_id(column[3], &gid)) return false;
  if (q->name ? strcmp(column[0], q->name) != 0 : uid != q->uid) return false;
  q->out->uid = uid;
  q->out->gid = gid;
  copy(q->out->name, sizeof q->out->name, column[0]);
  if (column[5][0] == '/') copy(q->out->home, sizeof q->out->home, column[5]);
  return true;
}

struct group_query {
  const char *name;
  uint32_t gid;
};

static bool match_group(char **column, void *arg) {
  struct group_query *q = arg;
  return strcmp(column[0], q->name) == 0 && parse_id(column[2], &q->gid);
}

static bool collect_group(char **column, void *arg) {
  struct user *u = arg;
  uint32_t gid;
  if (!parse_id(column[2], &gid) || gid == u->gid) return false;
  char *rest = column[3], *member;
  while ((member = strsep(&rest, ",")))
    if (strcmp(member, u->name) == 0 && u->group_count < USER_GROUPS_MAX) {
      u->groups[u->group_count++] = gid;
      break;
    }
  return false;
}

static bool find_by_uid(uint32_t uid, struct user *out) {
  struct passwd_query q = {.uid = uid, .out = out};
  out->uid = uid;
  return each_line("/etc/passwd", 6, match_passwd, &q);
}

static int find_user(const char *name, struct user *out) {
  struct passwd_query q = {.name = name, .out = out};
  uint32_t uid;
  if (each_line("/etc/passwd", 6, match_passwd, &q)) return 0;
  if (parse_id(name, &uid)) {
    if (find_by_uid(uid, out)) return 0;
    out->gid = uid;
    copy(out->name, sizeof out->name, name);
    return 0;
  }
  /* Images without a passwd file have a root all the same. */
  if (strcmp(name, "root") != 0) return -EINVAL;
  copy(out->name, sizeof out->name, name);
  return 0;
}

static int look_up(const char *spec, struct user *out) {
  char name[256], *group = NULL;
  memset(out, 0, sizeof *out);
  copy(out->home, sizeof out->home, "/");
  if (spec) {
    if (strlen(spec) >= sizeof name) return -EINVAL;
    copy(name, sizeof name, spec);
    group = strchr(name, ':');
    if (group) *group++ = 0;
    int error = find_user(name, out);
    if (error) return error;
  } else if (!find_by_uid(geteuid(), out)) {
    snprintf(out->name, sizeof out->name, out->uid == 0 ? "root" : "%u", (unsigned)out->uid);
    out->gid = getegid();
  }
  if (!spec && out->uid != 0) out->gid = getegid();
  if (!group) {
    out->groups[out->group_count++] = out->gid;
    each_line("/etc/group", 4, collect_group, out);
    return 0;
  }
  struct group_query q = {.name = group};
  if (!each_line("/etc/group", 3, match_group, &q) && !parse_id(group, &q.gid)) return -EINVAL;
  out->gid = q.gid;
  out->groups[out->group_count++] = q.gid;
  return 0;
}

/* By what a file is known to be the one that was read before. */
struct mark {
  dev_t device;
  ino_t inode;
  off_t size;
  struct timespec modified, changed;
};

static struct mark mark_of(const char *path) {
  struct mark m;
  struct stat st;
  memset(&m, 0, sizeof m);
  if (stat(path, &st) < 0) return m;
  m.device = st.st_dev;
  m.inode = st.st_ino;
  m.size = st.st_size;
  m.modified = st.st_mtim;
  m.changed = st.st_ctim;
  return m;
}

/* The files are read anew when they have changed: to read them is a good part of what a clone's first command waits for. */
int user_find(const char *spec, struct user *out) {
  static struct {
    bool known;
    char spec[256];
    struct mark passwd, group;
    struct user user;
  } last;
  struct mark passwd = mark_of("/etc/passwd"), group = mark_of("/etc/group");
  const char *key = spec ? spec : "";
  if (last.known && strcmp(last.spec, key) == 0 && memcmp(&last.passwd, &passwd, sizeof passwd) == 0 &&
      memcmp(&last.group, &group, sizeof group) == 0) {
    *out = last.user;
    return 0;
  }
  int error = look_up(spec, out);
  last.known = !error && strlen(key) < sizeof last.spec;
  if (!last.known) return error;
  copy(last.spec, sizeof last.spec, key);
  last.passwd = passwd;
  last.group = group;
  last.user = *out;
  return 0;
}

int user_become(const struct user *u) {
  /* What init is anyway. */
  if (agent.init && u->uid == 0 && u->gid == 0 && u->group_count == 1 && u->groups[0] == 0) return 0;
  if (geteuid() != 0) return u->uid == geteuid() && u->gid == getegid() ? 0 : -EPERM;
  /* Root of a user namespace that an ordinary user has made is himself: he has the groups that he has, and can be nobody else. */
  if (setgroups(u->group_count, u->groups) < 0) return errno == EPERM && u->uid == 0 && u->gid == 0 ? 0 : -errno;
  if (setresgid(u->gid, u->gid, u->gid) < 0) return -errno;
  if (setresuid(u->uid, u->uid, u->uid) < 0) return -errno;
  return 0;
}
