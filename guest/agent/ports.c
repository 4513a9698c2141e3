#define _GNU_SOURCE
#include "ports.h"

#include "agent.h"
#include "channel.h"
#include "console.h"
#include "listener.h"
#include "loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLASS "/sys/class/virtio-ports"
#define NAME "agent.channel."

/* The port's number if it is one of ours, else -1. Its name arrives a little after the port itself. */
static int channel_number(const char *port) {
  char path[300], text[64];
  snprintf(path, sizeof path, CLASS "/%s/name", port);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  size_t prefix = strlen(NAME);
  if (n != (ssize_t)prefix + 2 || memcmp(text, NAME, prefix) != 0 || text[prefix + 1] != '\n') return -1;
  int number = text[prefix] - '0';
  return number >= 0 && number < CHANNELS_MAX ? number : -1;
}

void ports_scan(void) {
  DIR *list = opendir(CLASS);
  if (!list) return;
  struct dirent *entry;
  while ((entry = readdir(list))) {
    char path[300];
    if (entry->d_name[0] == '.' || channel_number(entry->d_name) < 0) continue;
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    /* EBUSY: open already, by us. A port that is gone again is no loss either. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) channel_open(fd, NULL);
  }
  closedir(list);
}

static struct watch uevents = {.fd = -1};

/* Any event of these subsystems makes us look again; an overflow of the socket does too. */
static void device_event(struct watch *w, uint32_t events) {
  char text[4096];
  bool ports = false, vsock = false;
  (void)events;
  for (;;) {
    ssize_t n = recv(w->fd, text, sizeof text - 1, 0);
    if (n < 0 && errno == ENOBUFS) ports = vsock = true;
    else if (n < 0 && errno != EINTR) break;
    if (n <= 0) continue;
    text[n] = 0;
    if (strstr(text, "/virtio-ports/")) ports = true;
    if (strstr(text, "/misc/vsock")) vsock = true;
  }
  if (ports) ports_scan();
  if (vsock) listen_vsock();
}

void ports_watch(void) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) console_die("device events", errno);
  int error = loop_watch(&uevents, fd, EPOLLIN, device_event);
  if (error) console_die("device events", -error);
}
