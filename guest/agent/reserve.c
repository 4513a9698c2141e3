#define _GNU_SOURCE
#include "reserve.h"

#include "agent.h"
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES 32768
/* From here on the process has its own descriptors; below its soft limit. */
#define DESCRIPTORS 1000

/* It shares the agent's memory, so that nothing has to be copied, `errno` included: the two never run at the same time. Either waits for a
   byte of the other. */
static struct {
  pid_t pid; /* 0: there is none */
  uint32_t id;
  int group;
  int go; /* a byte is written here */
  struct spawned ours;
  struct child *child; /* what it is to become */
} reserve;

/* The process's own ends. */
struct ends {
  int go, input, stdio[3], report;
};

static void close_all(const int *fds, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (fds[i] >= 0) close(fds[i]);
}

static int move_up(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, DESCRIPTORS); }

static int wait_for_command(void *arg) {
  const struct ends *e = arg;
  const struct spawn_request none = {0};
  struct child child = {.request = &none, .stdio = {e->stdio[0], e->stdio[1], e->stdio[2]}, .report = e->report};
  char word = 0;
  child_prepare(&child);
  int go = move_up(e->go), input = move_up(e->input), report = move_up(e->report);
  /* What the agent has open would stay open here. */
  if (go < 0 || input < 0 || report < 0 || close_range(3, DESCRIPTORS - 1, 0) < 0) _exit(127);
  if (write(report, &word, 1) != 1 || read(go, &word, 1) != 1) _exit(127);
  if (reserve.child->request->input && dup2(input, 0) < 0) _exit(127);
  reserve.child->report = report;
  child_become(reserve.child);
}

/* A pipe of which the agent has the reading end (0) or the writing end (1), which then doesn't block if it is not to. */
static int make_pipe(int ours, bool blocks, int *parent_end, int *child_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  if (!blocks) fcntl(ends[ours], F_SETFL, O_NONBLOCK | (ours ? O_WRONLY : O_RDONLY));
  *parent_end = ends[ours];
  *child_end = ends[1 - ours];
  return 0;
}

static int make_ends(struct ends *e) {
  struct spawned *ours = &reserve.ours;
  int error = make_pipe(1, true, &reserve.go, &e->go);
  if (!error) error = make_pipe(1, false, &ours->input, &e->input);
  if (!error) error = make_pipe(0, false, &ours->output[0], &e->stdio[1]);
  if (!error) error = make_pipe(0, false, &ours->output[1], &e->stdio[2]);
  if (!error) error = make_pipe(0, true, &ours->report, &e->report);
  if (error) return error;
  e->stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return e->stdio[0] < 0 ? -errno : 0;
}

/* Returns 0 or -errno, when it waits for its command. */
static int start(struct ends *e) {
  static char stack[STACK_BYTES] __attribute__((aligned(16)));
  pid_t pid = clone(wait_for_command, stack + sizeof stack, CLONE_VM | SIGCHLD, e);
  if (pid < 0) return -errno;
  reserve.pid = pid;
  /* Only it has this end from here on: if it ends, that is the end of file. It may still read here which one it is. */
  close(e->report);
  char word;
  ssize_t n = read(reserve.ours.report, &word, 1);
  e->report = -1;
  if (n != 1) return -EAGAIN;
  return cgroup_enter(reserve.group, pid);
}

static void close_ours(void) {
  const int fds[] = {reserve.go, reserve.ours.input, reserve.ours.output[0], reserve.ours.output[1], reserve.ours.report};
  close_all(fds, sizeof fds / sizeof fds[0]);
}

static void put_away(void) {
  reserve.pid = 0;
  close_ours();
  if (reserve.group < 0 || cgroup_keep(reserve.id, reserve.group)) return;
  cgroup_remove(reserve.id);
  close(reserve.group);
}

static void end(void) {
  if (reserve.pid > 0) {
    kill(reserve.pid, SIGKILL);
    while (waitpid(reserve.pid, NULL, 0) < 0 && errno == EINTR)
      ;
  }
  put_away();
}

int reserve_make(void) {
  if (!agent.init || !cgroup_usable()) return -EOPNOTSUPP;
  if (reserve.pid > 0) return 0;
  const struct limits none = {0};
  struct ends e = {-1, -1, {-1, -1, -1}, -1};
  reserve.go = -1;
  reserve.ours = (struct spawned){.input = -1, .output = {-1, -1}, .report = -1};
  reserve.group = cgroup_make(&reserve.id, &none);
  int error = reserve.group < 0 ? reserve.group : make_ends(&e);
  if (!error) error = start(&e);
  const int theirs[] = {e.go, e.input, e.stdio[0], e.stdio[1], e.stdio[2], e.report};
  close_all(theirs, sizeof theirs / sizeof theirs[0]);
  if (error) end();
  return error;
}

static bool fits(const struct child *c) {
  const struct user *u = c->user;
  bool root = u->uid == 0 && u->gid == 0 && u->group_count == 1 && u->groups[0] == 0;
  return root && !c->request->pty && !c->request->detach && !limits_any(&c->request->limits);
}

bool reserve_start(struct child *child, pid_t *pid, uint32_t *id, int *group, struct spawned *out) {
  if (reserve.pid == 0) return false;
  reserve.child = child;
  if (!fits(child) || cgroup_frozen() || write(reserve.go, "", 1) != 1) {
    end();
    return false;
  }
  *pid = reserve.pid;
  *id = reserve.id;
  *group = reserve.group;
  *out = reserve.ours;
  reserve.pid = 0;
  /* Its failure, or its end by execve. */
  if (read(out->report, &out->failure, sizeof out->failure) != sizeof out->failure) out->failure.error = 0;
  close(out->report);
  out->report = -1;
  close(reserve.go);
  if (!child->request->input) {
    close(out->input);
    out->input = -1;
  }
  return true;
}

bool reserve_reaped(pid_t pid) {
  if (reserve.pid == 0 || pid != reserve.pid) return false;
  put_away();
  return true;
}
