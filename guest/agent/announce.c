#define _GNU_SOURCE
#include "announce.h"

#include "loop.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static struct watch announcing = {.fd = -1};

/* Connected or refused: both end it. */
static void settled(struct watch *w, uint32_t events) {
  (void)events;
  loop_close(w);
}

void announce(void) {
  struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_port = ANNOUNCE_PORT, .svm_cid = VMADDR_CID_HOST};
  if (announcing.fd >= 0) return;
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  /* A connection that is closed before the host has answered never was one: the answer is waited for. */
  if (connect(fd, (struct sockaddr *)&host, sizeof host) < 0 && errno != EINPROGRESS) close(fd);
  else loop_watch(&announcing, fd, EPOLLOUT, settled);
}
