#define _GNU_SOURCE
#include "console_socket.h"

#include "console_shell.h"
#include "listener.h"
#include "loop.h"
#include "pty.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 16 /* of both directions, before other events get their turn */

/* Bytes on their way from one descriptor to another. */
struct flow {
  char bytes[4096];
  size_t start, length;
};

static struct watch listener = {.fd = -1}, client = {.fd = -1}, master = {.fd = -1};
static struct flow to_client, to_terminal;
static struct deadline again;
static char socket_path[sizeof((struct sockaddr_un *)0)->sun_path];

static void hang_up(void) {
  loop_close(&client);
  to_client.length = to_terminal.length = 0;
}

/* Fills an empty flow. Returns whether it did; `*over` is set when nothing will come any more. */
static bool fill(struct flow *f, int from, bool *over) {
  if (f->length > 0 || from < 0) return false;
  ssize_t n = read(from, f->bytes, sizeof f->bytes);
  *over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
  if (n <= 0) return false;
  f->start = 0;
  f->length = (size_t)n;
  return true;
}

/* Empties a flow as far as that goes. Returns whether anything was taken. */
static bool drain(struct flow *f, int to, bool *over) {
  if (f->length == 0 || to < 0) return false;
  ssize_t n = write(to, f->bytes + f->start, f->length);
  *over = n < 0 && errno != EAGAIN && errno != EINTR;
  if (n <= 0) return false;
  f->start += (size_t)n;
  f->length -= (size_t)n;
  return true;
}

static void pump(struct deadline *d) {
  (void)d;
  bool moved = true;
  for (int i = 0; i < ROUNDS && moved; i++) {
    bool gone[3] = {false, false, false}, over = false;
    moved = fill(&to_client, master.fd, &over);
    if (moved) (void)!write(STDOUT_FILENO, to_client.bytes, to_client.length);
    /* As on a serial line, what nobody listens to is lost. */
    if (client.fd < 0) to_client.length = 0;
    if (drain(&to_client, client.fd, &gone[0])) moved = true;
    if (fill(&to_terminal, client.fd, &gone[1])) moved = true;
    if (drain(&to_terminal, master.fd, &gone[2])) moved = true;
    if (gone[0] || gone[1]) hang_up();
    if (over) loop_close(&master);
  }
  if (moved) deadline_set(&again, 0, pump);
}

static void ready(struct watch *w, uint32_t events) {
  (void)w;
  (void)events;
  pump(NULL);
}

static void client_comes(struct watch *w, uint32_t events) {
  int fd;
  (void)events;
  while ((fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    if (client.fd >= 0 || loop_watch(&client, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, ready) < 0) close(fd);
  }
}

int console_socket_open(const char *path) {
  struct user user;
  int slave, error = user_find(NULL, &user);
  if (error) return error;
  int terminal = pty_open(24, 80, &user, &slave);
  if (terminal < 0) return terminal;
  error = loop_watch(&master, terminal, EPOLLIN | EPOLLOUT, ready);
  if (error) close(terminal);
  console_shell_open(slave);
  int fd = error ? error : unix_socket(path);
  if (fd < 0) return fd;
  strcpy(socket_path, path);
  error = listen(fd, 1) < 0 ? -errno : loop_watch(&listener, fd, EPOLLIN, client_comes);
  if (error) close(fd);
  return error;
}

void console_socket_close(void) {
  if (socket_path[0]) unlink(socket_path);
  deadline_clear(&again);
  hang_up();
  loop_close(&listener);
}
