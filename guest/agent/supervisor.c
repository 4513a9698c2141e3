#define _GNU_SOURCE
#include "supervisor.h"

#include "descendants.h"
#include "tree.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct supervised {
  int control, signals;
  pid_t first;
  bool first_ended, keep_rest, ending;
};

static bool strike(pid_t pid, void *arg) { return kill(pid, *(int *)arg) == 0; }

static void report(struct supervised *s, enum supervisor_kind kind, int value) {
  struct supervisor_report message = {.kind = (int32_t)kind, .value = value};
  /* Fails only when the agent is no more, which the next poll shows. */
  (void)!send(s->control, &message, sizeof message, MSG_NOSIGNAL);
}

static void end_all(struct supervised *s) {
  int how = SIGKILL;
  s->ending = true;
  descendants_each(getpid(), strike, &how);
}

/* Returns false when no child is left. */
static bool reap(struct supervised *s) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0) return errno != ECHILD;
    if (pid == 0) return true;
    if (pid != s->first || s->first_ended) continue;
    s->first_ended = true;
    report(s, SUPERVISOR_ENDED, status);
    if (!s->keep_rest) s->ending = true;
  }
}

/* Obeys one message. End of file: the agent is no more, and the tree ends with it. */
static void obey(struct supervised *s) {
  struct supervisor_report order;
  ssize_t n = recv(s->control, &order, sizeof order, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n != sizeof order || order.kind == SUPERVISOR_KILL) {
    s->ending = true;
    if (n != sizeof order) {
      close(s->control);
      s->control = -1;
    }
  } else if (order.kind == SUPERVISOR_SIGNAL && !s->first_ended) {
    kill(s->first, order.value);
  } else if (order.kind == SUPERVISOR_SIGNAL_ALL) {
    int how = order.value;
    descendants_each(getpid(), strike, &how);
  }
}

static void supervise(struct supervised *s) {
  while (reap(s)) {
    if (s->ending) end_all(s);
    struct pollfd fds[2] = {{.fd = s->signals, .events = POLLIN}, {.fd = s->control, .events = POLLIN}};
    /* While ending, look again soon: a descendant may have been born behind the sweep's back. */
    if (poll(fds, 2, s->ending ? 20 : -1) < 0) continue;
    if (fds[0].revents) {
      struct signalfd_siginfo info;
      (void)!read(s->signals, &info, sizeof info);
    }
    if (fds[1].revents) obey(s);
  }
}

static void run(struct supervised *s, void (*child)(void *), void *arg) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NAME, "polyvisor-tree");
  s->first = fork();
  if (s->first == 0) child(arg);
  if (s->first < 0) _exit(1);
  /* Keep nothing of the agent's: its pipes and sockets would never see their end. */
  if (s->control != 3) {
    dup2(s->control, 3);
    s->control = 3;
  }
  close_range(4, ~0u, 0);
  s->signals = signalfd(-1, &children, SFD_NONBLOCK);
  report(s, SUPERVISOR_PID, s->first);
  supervise(s);
  _exit(0);
}

int supervisor_start(bool keep_rest, void (*child)(void *), void *arg, pid_t *supervisor, int *control) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) return -errno;
  pid_t pid = fork();
  if (pid == 0) {
    struct supervised s = {.control = pair[1], .keep_rest = keep_rest};
    close(pair[0]);
    run(&s, child, arg);
  }
  int error = pid < 0 ? -errno : 0;
  close(pair[1]);
  if (error) {
    close(pair[0]);
    return error;
  }
  *supervisor = pid;
  *control = pair[0];
  return 0;
}

int supervisor_tell(int control, enum supervisor_kind kind, int value) {
  struct supervisor_report message = {.kind = (int32_t)kind, .value = value};
  return send(control, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static bool end_stray(pid_t pid, void *arg) {
  for (const struct tree *t = arg; t; t = t->next)
    if (t->supervisor == pid) return false;
  return kill(pid, SIGKILL) == 0;
}

void supervisor_strays(const struct tree *trees) { children_each(getpid(), end_stray, (void *)(uintptr_t)trees); }
