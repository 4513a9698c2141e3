/* The guest agent: init of the boot initrd, or (host mode) the guest of a VM that is only pretended. */
#define _GNU_SOURCE
#include "agent.h"
#include "cgroup.h"
#include "channel.h"
#include "console.h"
#include "console_socket.h"
#include "host_root.h"
#include "init.h"
#include "listener.h"
#include "loop.h"
#include "power.h"
#include "tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct agent agent;

static struct watch signals = {.fd = -1};

static void signal_comes(struct watch *w, uint32_t events) {
  struct signalfd_siginfo info;
  (void)events;
  while (read(w->fd, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) tree_reap();
    else power_down(POWER_OFF);
  }
}

static void take_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (!agent.init) {
    sigaddset(&set, SIGHUP);
    /* What a caller had ignored would be ignored by every program we start. */
    for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
  }
  signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_SETMASK, &set, NULL);
  int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) console_die("signalfd", errno);
  int error = loop_watch(&signals, fd, EPOLLIN, signal_comes);
  if (error) console_die("signals", -error);
}

/* Channel `i`, or the console for -1. */
static void open_socket(const char *folder, int i) {
  char path[4096];
  int n = i < 0 ? snprintf(path, sizeof path, "%s/console.sock", folder)
                : snprintf(path, sizeof path, "%s/agent%d.sock", folder, i);
  int error = n < 0 || (size_t)n >= sizeof path ? -ENAMETOOLONG : i < 0 ? console_socket_open(path) : listen_unix(path);
  if (!error) return;
  listeners_close();
  console_socket_close();
  console_die(path, -error);
}

static void run(void) {
  agent.ready = true;
  channels_wake();
  console_line("ready");
  bool busy = true;
  while (!power_finished()) {
    if (!busy) cgroup_tidy();
    loop_turn(!busy);
    busy = channels_pump();
  }
  listeners_close();
  console_socket_close();
  power_act();
}

static int usage(void) {
  fputs("usage: polyvisor-agent --host FOLDER --channels N [--root FOLDER] | --version\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  const char *folder = NULL, *root = NULL;
  long count = 1;
  agent.init = getpid() == 1;
  if (!agent.init) {
    for (int i = 1; i < argc; i++) {
      char *end = NULL;
      if (strcmp(argv[i], "--version") == 0) return puts("polyvisor-agent " AGENT_VERSION) < 0;
      if (i + 1 == argc) return usage();
      if (strcmp(argv[i], "--host") == 0) folder = argv[++i];
      else if (strcmp(argv[i], "--root") == 0) root = argv[++i];
      else if (strcmp(argv[i], "--channels") == 0) count = strtol(argv[++i], &end, 10);
      else return usage();
      if (end && (*end || count < 1 || count > CHANNELS_MAX)) return usage();
    }
    if (!folder) return usage();
  }
  if (agent.init) init_mounts();
  else close_range(3, ~0u, 0); /* what the caller left open is nobody's business here */
  loop_open();
  take_signals();
  if (agent.init) {
    init_devices();
  } else {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = -1; i < count; i++) open_socket(folder, i);
    if (root) host_root_enter(root);
  }
  run();
  /* PID 1 that could not go down must not end: the kernel would panic. */
  while (agent.init) pause();
  return 0;
}
