#define _GNU_SOURCE
#include "child.h"

#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FILES 1024 /* the soft limit programs expect; the agent's own is higher */

static noreturn void fail(const struct child *c, enum spawn_stage stage, int error) {
  struct spawn_failure f = {.stage = (int)stage, .error = error};
  (void)!write(c->report, &f, sizeof f);
  _exit(127);
}

static void unblock_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void reset_limits(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur <= OPEN_FILES) return;
  files.rlim_cur = OPEN_FILES;
  setrlimit(RLIMIT_NOFILE, &files);
}

/* `folder/name`, an empty folder being the working one. Returns whether it fits. */
static bool join(char *file, size_t size, const char *folder, size_t length, const char *name) {
  size_t rest = strlen(name) + 1;
  if (length == 0) {
    folder = ".";
    length = 1;
  }
  if (length + 1 + rest > size) return false;
  memcpy(file, folder, length);
  file[length] = '/';
  memcpy(file + length + 1, name, rest);
  return true;
}

static bool is_there(const char *file) {
  struct stat found;
  return stat(file, &found) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Looks the program up as a shell would: the first that can be run; EACCES counts more than ENOENT at the end. */
static int search(const struct child *c) {
  char **argv = c->request->argv;
  const char *name = argv[0];
  if (strchr(name, '/')) {
    execve(name, argv, c->env);
    return errno;
  }
  bool denied = false;
  for (const char *at = c->path;; at++) {
    size_t length = strcspn(at, ":");
    char file[4096];
    /* A look is cheap: execve makes all of a program's memory before it finds that there is no such file. */
    if (join(file, sizeof file, at, length, name) && is_there(file)) {
      execve(file, argv, c->env);
      if (errno == EACCES) denied = true;
      else if (errno != ENOENT && errno != ENOTDIR) return errno;
    }
    at += length;
    if (!*at) return denied ? EACCES : ENOENT;
  }
}

void child_prepare(const struct child *c) {
  setsid();
  for (int i = 0; i < 3; i++)
    if (dup2(c->stdio[i], i) < 0) fail(c, SPAWN_STAGE_TERMINAL, errno);
  if (c->request->pty && ioctl(0, TIOCSCTTY, 0) < 0) fail(c, SPAWN_STAGE_TERMINAL, errno);
  /* The only signal that the agent ignores; it has no handlers. */
  signal(SIGPIPE, SIG_DFL);
  reset_limits();
  umask(022);
}

noreturn void child_become(const struct child *c) {
  unblock_signals();
  int error = user_become(c->user);
  if (error) fail(c, SPAWN_STAGE_USER, -error);
  /* As the user, so that a folder the user can't enter is an error. */
  if (chdir(c->cwd) < 0 && (c->request->cwd || chdir("/") < 0)) fail(c, SPAWN_STAGE_CWD, errno);
  fail(c, SPAWN_STAGE_EXEC, search(c));
}

void child_run(void *arg) {
  const struct child *c = arg;
  child_prepare(c);
  child_become(c);
}
