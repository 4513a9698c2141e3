#define _GNU_SOURCE
#include "uevents.h"

#include "console.h"
#include "listener.h"
#include "loop.h"
#include "modules.h"
#include "ports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT_MAX 4096
#define QUEUE_BYTES (1 << 20) /* a controller with hundreds of disks tells of them all at once */

static struct watch uevents = {.fd = -1};

static void drive(int devices, const char *name) {
  char path[300], modalias[512];
  snprintf(path, sizeof path, "%s/modalias", name);
  int fd = openat(devices, path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, modalias, sizeof modalias - 1);
  if (fd >= 0) close(fd);
  modalias[n > 0 ? n : 0] = 0;
  modalias[strcspn(modalias, "\n")] = 0;
  if (modalias[0]) modules_drive(modalias);
}

/* Dozens of devices are on the ACPI bus, and looking at each takes long. Their names are told by their kind: of those of
   the alias `acpi*:ACPI0012:*` the first one is called ACPI0012:00. */
static void drive_acpi(const char *alias) {
  char id[16], path[64], modalias[32];
  if (sscanf(alias, "acpi*:%15[A-Z0-9]:*", id) != 1) return;
  snprintf(path, sizeof path, "/sys/bus/acpi/devices/%s:00", id);
  snprintf(modalias, sizeof modalias, "acpi:%s:", id);
  if (access(path, F_OK) == 0) modules_drive(modalias);
}

/* Loads the drivers of all devices on buses that a module of ours has a driver for. */
static void scan(void) {
  static const char *const buses[] = {"pci", "virtio", "nd", "scsi"};
  modules_each_alias("acpi", drive_acpi);
  for (size_t i = 0; i < sizeof buses / sizeof buses[0]; i++) {
    char path[64];
    if (!modules_each_alias(buses[i], NULL)) continue;
    snprintf(path, sizeof path, "/sys/bus/%s/devices", buses[i]);
    DIR *list = opendir(path);
    struct dirent *entry;
    while (list && (entry = readdir(list)))
      if (entry->d_name[0] != '.') drive(dirfd(list), entry->d_name);
    if (list) closedir(list);
  }
}

/* A message is `ACTION@PATH` and `KEY=VALUE` strings, each ended by a NUL. */
static void take_event(const char *text, size_t length, bool *ports, bool *vsock) {
  if (strncmp(text, "add@", 4) == 0)
    for (const char *p = text; p < text + length; p += strlen(p) + 1)
      if (strncmp(p, "MODALIAS=", 9) == 0) modules_drive(p + 9);
  if (strstr(text, "/virtio-ports/")) *ports = true;
  if (strstr(text, "/misc/vsock")) *vsock = true;
}

/* A driver that is loaded here may find devices: their events are waiting in the socket when it is read again. */
static void events_come(struct watch *w, uint32_t events) {
  char text[EVENT_MAX];
  bool ports = false, vsock = false, lost = false;
  (void)events;
  for (;;) {
    struct sockaddr_nl from = {0};
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(w->fd, text, sizeof text - 1, 0, (struct sockaddr *)&from, &size);
    if (n < 0 && errno == ENOBUFS) lost = true;
    else if (n < 0 && errno != EINTR) break;
    /* Anybody may write to the socket: only the kernel's port is 0. */
    if (n <= 0 || from.nl_pid != 0) continue;
    text[n] = 0;
    take_event(text, (size_t)n, &ports, &vsock);
  }
  if (lost) scan();
  if (ports || lost) ports_scan();
  if (vsock || lost) listen_vsock();
}

void uevents_watch(void) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
  int room = QUEUE_BYTES;
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) console_die("device events", errno);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  int error = loop_watch(&uevents, fd, EPOLLIN, events_come);
  if (error) console_die("device events", -error);
}

void uevents_catch_up(void) {
  scan();
  if (uevents.fd >= 0) events_come(&uevents, EPOLLIN);
}
