#define _GNU_SOURCE
#include "spawn.h"

#include "agent.h"
#include "child.h"
#include "environment.h"
#include "pty.h"
#include "reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The descriptors of one spawn: the child's are closed in the parent when it has forked. */
struct plumbing {
  struct spawned ours;
  int theirs[3];
  int report;
};

static void close_all(int *fds, size_t count) {
  for (size_t i = 0; i < count; i++) {
    /* The three may be the same terminal. */
    for (size_t j = i + 1; j < count; j++)
      if (fds[j] == fds[i]) fds[j] = -1;
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

static void unplumb(struct plumbing *p) {
  close_all(p->theirs, 3);
  close_all(&p->report, 1);
}

static void spawned_close(struct spawned *s) {
  close_all(&s->input, 1);
  close_all(s->output, 2);
  close_all(&s->report, 1);
}

/* One pipe; `ours` (0: the reading end, 1: the writing end) doesn't block. The user may open /dev/stdout anew. */
static int make_pipe(int ours, const struct user *user, int *parent_end, int *child_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  fcntl(ends[ours], F_SETFL, O_NONBLOCK | (ours ? O_WRONLY : O_RDONLY));
  if (user->uid != geteuid()) (void)!fchown(ends[1 - ours], user->uid, user->gid);
  *parent_end = ends[ours];
  *child_end = ends[1 - ours];
  return 0;
}

static int open_null(int flags, int *fd) {
  *fd = open("/dev/null", flags | O_CLOEXEC);
  return *fd < 0 ? -errno : 0;
}

static int plumb_console(struct plumbing *p) {
  p->theirs[1] = agent.init ? open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC) : fcntl(1, F_DUPFD_CLOEXEC, 3);
  if (p->theirs[1] < 0) return -errno;
  p->theirs[2] = fcntl(p->theirs[1], F_DUPFD_CLOEXEC, 3);
  return p->theirs[2] < 0 ? -errno : 0;
}

static int plumb_terminal(struct plumbing *p, const struct spawn_request *r, const struct user *user) {
  int slave;
  int master = pty_open(r->rows, r->cols, user, &slave);
  if (master < 0) return master;
  p->theirs[0] = p->theirs[1] = p->theirs[2] = slave;
  p->ours.output[0] = master;
  p->ours.input = fcntl(master, F_DUPFD_CLOEXEC, 3);
  return p->ours.input < 0 ? -errno : 0;
}

static int plumb_pipes(struct plumbing *p, const struct spawn_request *r, const struct user *user) {
  int error = r->input ? make_pipe(1, user, &p->ours.input, &p->theirs[0]) : open_null(O_RDONLY, &p->theirs[0]);
  if (error) return error;
  if (r->detach) return plumb_console(p);
  for (int i = 0; i < 2 && !error; i++) error = make_pipe(0, user, &p->ours.output[i], &p->theirs[i + 1]);
  return error;
}

static int plumb(struct plumbing *p, const struct spawn_request *r, const struct user *user) {
  int ends[2];
  *p = (struct plumbing){.ours = {.input = -1, .output = {-1, -1}, .report = -1}, .theirs = {-1, -1, -1}, .report = -1};
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  p->ours.report = ends[0];
  p->report = ends[1];
  return r->pty ? plumb_terminal(p, r, user) : plumb_pipes(p, r, user);
}

static bool start_reserve(struct child *child, struct tree *tree, void (*changed)(struct tree *), struct spawned *out) {
  pid_t pid;
  uint32_t id;
  int group;
  if (!reserve_start(child, &pid, &id, &group, out)) return false;
  tree_adopt(tree, pid, id, group, changed);
  return true;
}

int spawn(const struct spawn_request *request, struct tree *tree, void (*changed)(struct tree *), struct spawned *out,
          char *message, size_t size) {
  struct user user;
  struct plumbing p;
  int error = user_find(request->user, &user);
  if (error) {
    snprintf(message, size, "no such user: %s", request->user ? request->user : "");
    return error;
  }
  char **env = environment_make(request, &user);
  if (!env) {
    snprintf(message, size, "out of memory");
    return -ENOMEM;
  }
  struct child child = {
      .request = request,
      .user = &user,
      .env = env,
      .path = environment_get(env, "PATH"),
      .cwd = request->cwd ? request->cwd : user.home,
  };
  if (start_reserve(&child, tree, changed, out)) {
    free(env);
    return 0;
  }
  error = plumb(&p, request, &user);
  if (!error) {
    for (int i = 0; i < 3; i++) child.stdio[i] = p.theirs[i];
    child.report = p.report;
    struct tree_options options = {.limits = request->limits, .keep_rest = request->detach};
    error = tree_start(tree, &options, child_run, &child, changed);
  }
  unplumb(&p);
  free(env);
  if (error) {
    spawned_close(&p.ours);
    snprintf(message, size, "%s: %s",
             error == -EOPNOTSUPP ? "max-pids and max-memory need cgroup v2" : "can't start a process", strerror(-error));
    return error;
  }
  *out = p.ours;
  return 0;
}

void spawn_explain(const struct spawn_failure *f, const char *program, const char *cwd, char *message, size_t size) {
  const char *why = strerror(f->error);
  switch (f->stage) {
  case SPAWN_STAGE_CWD:
    snprintf(message, size, "working folder %s: %s", cwd ? cwd : "/", why);
    break;
  case SPAWN_STAGE_USER:
    snprintf(message, size, "can't become the user: %s", why);
    break;
  case SPAWN_STAGE_TERMINAL:
    snprintf(message, size, "can't set up the terminal: %s", why);
    break;
  default:
    snprintf(message, size, "%s: %s", program, why);
  }
}
