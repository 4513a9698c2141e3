#define _GNU_SOURCE
#include "tree.h"

#include "agent.h"
#include "cgroup.h"
#include "clone.h"
#include "reserve.h"
#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tree *trees;

static int start_in_group(struct tree *t, const struct tree_options *o, void (*child)(void *), void *arg) {
  int group = cgroup_make(&t->id, &o->limits);
  if (group < 0) return group;
  /* One that stands still at once must not be waited for. */
  pid_t pid = cgroup_frozen() ? clone_apart(group, child, arg) : clone_into(group, child, arg);
  if (pid < 0) {
    close(group);
    cgroup_remove(t->id);
    return pid;
  }
  t->group = group;
  t->pid = pid;
  return 0;
}

static void unlink_tree(struct tree *t) {
  for (struct tree **p = &trees; *p; p = &(*p)->next)
    if (*p == t) {
      *p = t->next;
      return;
    }
}

static void supervisor_speaks(struct watch *w, uint32_t events);

static void begin(struct tree *t, const struct tree_options *options, void (*changed)(struct tree *)) {
  memset(t, 0, sizeof *t);
  t->group = -1;
  t->events.fd = t->control.fd = -1;
  t->keep_rest = options->keep_rest;
  t->changed = changed;
}

static void link_tree(struct tree *t) {
  t->next = trees;
  trees = t;
}

void tree_adopt(struct tree *t, pid_t pid, uint32_t id, int group, void (*changed)(struct tree *)) {
  const struct tree_options options = {.keep_rest = false};
  begin(t, &options, changed);
  t->pid = pid;
  t->id = id;
  t->group = group;
  link_tree(t);
}

int tree_start(struct tree *t, const struct tree_options *options, void (*child)(void *), void *arg,
               void (*changed)(struct tree *)) {
  begin(t, options, changed);
  int error;
  if (cgroup_usable()) {
    error = start_in_group(t, options, child, arg);
  } else if (limits_any(&options->limits)) {
    error = -EOPNOTSUPP;
  } else {
    int control;
    error = supervisor_start(options->keep_rest, child, arg, &t->supervisor, &control);
    if (!error) {
      error = loop_watch(&t->control, control, EPOLLIN, supervisor_speaks);
      if (error) close(control); /* which ends the supervisor, and so the tree */
    }
  }
  if (error) return error;
  link_tree(t);
  return 0;
}

static void tree_gone(struct tree *t) {
  t->gone = true;
  loop_close(&t->events);
  if (t->group >= 0) close(t->group);
  t->group = -1;
}

static bool try_remove(struct tree *t) {
  if (cgroup_keep(t->id, t->group)) t->group = -1;
  else if (cgroup_remove(t->id) == -EBUSY) return false;
  tree_gone(t);
  return true;
}

static void group_changed(struct watch *w, uint32_t events) {
  struct tree *t = (struct tree *)(void *)((char *)w - offsetof(struct tree, events));
  (void)events;
  if (cgroup_populated(w->fd) || !t->first_ended) return;
  tree_gone(t);
  cgroup_remove(t->id);
  t->changed(t);
}

/* Waits for the group's last process. It may have ended meanwhile: the file is read once after the watch is set. */
static void await_rest(struct tree *t) {
  if (t->events.fd >= 0) return;
  int fd = cgroup_open_events(t->group);
  if (fd < 0 || loop_watch(&t->events, fd, EPOLLPRI, group_changed) < 0) {
    /* Out of descriptors: the rest has been told to end, or to live on; nobody waits for it. */
    if (fd >= 0) close(fd);
    tree_gone(t);
    return;
  }
  if (!cgroup_populated(fd)) try_remove(t);
}

/* `alone`: the agent has no child any more: as init it is then the only process, so that nobody can be left in the group */
static void first_ended(struct tree *t, int status, bool alone) {
  t->first_ended = true;
  t->status = status;
  if (t->group >= 0) {
    t->out_of_memory = cgroup_ran_out_of_memory(t->group);
    if (alone && cgroup_leave(t->id, t->group)) {
      t->group = -1;
      tree_gone(t);
    } else if (!try_remove(t)) {
      if (!t->keep_rest) cgroup_kill(t->group);
      await_rest(t);
    }
  }
  t->changed(t);
}

/* All is over once the supervisor has said its last word and has been reaped, in whichever order we learn of it. */
static void supervisor_left(struct tree *t) {
  if (t->control.fd >= 0 || t->supervisor > 0) return;
  /* One that was killed couldn't say how the first process ended; what it leaves falls to us. */
  if (!t->first_ended) {
    supervisor_strays(trees);
    t->first_ended = true;
    t->status = SIGKILL;
  }
  tree_gone(t);
  t->changed(t);
}

static void supervisor_speaks(struct watch *w, uint32_t events) {
  struct tree *t = (struct tree *)(void *)((char *)w - offsetof(struct tree, control));
  struct supervisor_report report;
  (void)events;
  for (;;) {
    ssize_t n = read(w->fd, &report, sizeof report);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n != sizeof report) break;
    if (report.kind == SUPERVISOR_PID) {
      t->pid = report.value;
      t->changed(t);
    } else if (!t->first_ended) {
      first_ended(t, report.value, false);
    }
    if (w->fd < 0) return;
  }
  loop_close(w);
  supervisor_left(t);
}

void tree_kill(struct tree *t) {
  if (t->gone) return;
  if (t->group >= 0) {
    cgroup_kill(t->group);
    if (t->first_ended) await_rest(t);
  } else if (t->control.fd >= 0) {
    supervisor_tell(t->control.fd, SUPERVISOR_KILL, 0);
  }
}

int tree_signal(struct tree *t, int signal, bool all) {
  if (t->gone) return -ESRCH;
  if (t->control.fd >= 0) return supervisor_tell(t->control.fd, all ? SUPERVISOR_SIGNAL_ALL : SUPERVISOR_SIGNAL, signal);
  if (all) return cgroup_signal(t->group, signal);
  if (t->first_ended) return -ESRCH;
  return kill(t->pid, signal) < 0 ? -errno : 0;
}

/* Returns whether it was no child that we know. */
static bool reaped(pid_t pid, int status, bool alone) {
  struct tree *t = trees;
  while (t && !(t->group >= 0 && t->pid == pid && !t->first_ended) && t->supervisor != pid) t = t->next;
  if (!t) return !reserve_reaped(pid);
  if (t->supervisor != pid) {
    first_ended(t, status, alone);
  } else {
    t->supervisor = -1;
    supervisor_left(t);
  }
  return false;
}

void tree_reap(void) {
  int status, next_status;
  bool strays = false;
  pid_t next, pid = waitpid(-1, &status, WNOHANG);
  while (pid > 0) {
    next = waitpid(-1, &next_status, WNOHANG);
    if (reaped(pid, status, agent.init && next < 0 && errno == ECHILD)) strays = true;
    pid = next;
    status = next_status;
  }
  if (strays && !cgroup_usable()) supervisor_strays(trees);
}

void tree_close(struct tree *t) {
  unlink_tree(t);
  loop_close(&t->events);
  loop_close(&t->control);
  if (t->group >= 0) close(t->group);
  t->group = -1;
}
