#define _GNU_SOURCE
#include "console_shell.h"

#include "agent.h"
#include "child.h"
#include "console.h"
#include "environment.h"
#include "loop.h"
#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct watch terminal = {.fd = -1};
static struct termios as_found;
static struct tree tree;
static bool running;

/* What the shell left unread must not start the next one, and its settings must not outlive it. */
static void changed(struct tree *t) {
  if (!t->gone) return;
  tree_close(t);
  running = false;
  tcsetattr(terminal.fd, TCSANOW, &as_found);
  tcflush(terminal.fd, TCIFLUSH);
}

static int start(void) {
  static char *argv[] = {"/bin/sh", "-l", NULL};
  struct spawn_request request = {.argv = argv, .arg_count = 2, .pty = true};
  struct tree_options options = {.keep_rest = false};
  struct user user;
  int error = user_find(NULL, &user);
  if (error) return error;
  char **env = environment_make(&request, &user);
  if (!env) return -ENOMEM;
  struct child child = {
      .request = &request,
      .user = &user,
      .env = env,
      .path = environment_get(env, "PATH"),
      .cwd = user.home,
      .stdio = {terminal.fd, terminal.fd, terminal.fd},
      .report = -1,
  };
  error = tree_start(&tree, &options, child_run, &child, changed);
  free(env);
  return error;
}

/* The line stays where it is: the shell reads it. */
static void line_comes(struct watch *w, uint32_t events) {
  (void)w;
  if (running || agent.ending || !(events & EPOLLIN)) return;
  int error = start();
  if (error) {
    console_line("shell: %s", strerror(-error));
    tcflush(terminal.fd, TCIFLUSH);
  }
  running = !error;
}

void console_shell_open(int tty) {
  if (tcgetattr(tty, &as_found) == 0 && loop_watch(&terminal, tty, EPOLLIN, line_comes) == 0) return;
  close(tty);
}

void console_shell_end(void) {
  if (running) tree_kill(&tree);
}

bool console_shell_runs(void) { return running; }
