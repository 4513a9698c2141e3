#define _GNU_SOURCE
#include "listener.h"

#include "agent.h"
#include "announce.h"
#include "channel.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BACKLOG 8

struct listener {
  struct listener *next;
  struct watch watch;
  int family;
  unsigned clients, most;
  bool waiting; /* a client may be waiting in the backlog */
  char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

static struct listener *listeners;

static bool from_host(const struct sockaddr_storage *peer) {
  return peer->ss_family != AF_VSOCK || ((const struct sockaddr_vm *)(const void *)peer)->svm_cid == VMADDR_CID_HOST;
}

static void accept_some(struct listener *l) {
  while (l->waiting && l->clients < l->most && !agent.ending) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int fd = accept4(l->watch.fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && errno == EAGAIN) l->waiting = false;
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EAGAIN)) return;
    if (fd < 0) continue;
    if (!from_host(&peer)) close(fd);
    else if (channel_open(fd, l)) l->clients++;
  }
}

static void client_comes(struct watch *w, uint32_t events) {
  struct listener *l = (struct listener *)(void *)((char *)w - offsetof(struct listener, watch));
  (void)events;
  l->waiting = true;
  accept_some(l);
}

void listener_freed(struct listener *l) {
  l->clients--;
  accept_some(l);
}

static int start(int fd, int family, unsigned most, const char *path) {
  struct listener *l = calloc(1, sizeof *l);
  int error = !l ? -ENOMEM : listen(fd, BACKLOG) < 0 ? -errno : loop_watch(&l->watch, fd, EPOLLIN, client_comes);
  if (error) {
    free(l);
    close(fd);
    return error;
  }
  l->family = family;
  l->most = most;
  if (path) strcpy(l->path, path);
  l->next = listeners;
  listeners = l;
  return 0;
}

void listen_vsock(void) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = VSOCK_PORT, .svm_cid = VMADDR_CID_ANY};
  for (struct listener *l = listeners; l; l = l->next)
    if (l->family == AF_VSOCK) return;
  /* Asking for the family of a kernel without the module would start modprobe. */
  if (access("/dev/vsock", F_OK) < 0) return;
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) close(fd);
  else if (start(fd, AF_VSOCK, VSOCK_CLIENTS_MAX, NULL) == 0) announce();
}

int unix_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  mode_t before = umask(0177);
  int error = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
  umask(before);
  if (!error) return fd;
  close(fd);
  return error;
}

int listen_unix(const char *path) {
  int fd = unix_socket(path);
  return fd < 0 ? fd : start(fd, AF_UNIX, 1, path);
}

void listeners_close(void) {
  for (struct listener *l = listeners; l; l = l->next) {
    if (l->path[0]) unlink(l->path);
    loop_close(&l->watch);
  }
}
