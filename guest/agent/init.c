#define _GNU_SOURCE
#include "init.h"

#include "cgroup.h"
#include "channel.h"
#include "console.h"
#include "console_shell.h"
#include "generation.h"
#include "listener.h"
#include "loop.h"
#include "modules.h"
#include "online.h"
#include "ports.h"
#include "root.h"
#include "uevents.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 524288
#define LATE_MS 1000 /* by then the first command of a host in a hurry has run */

struct mount_entry {
  const char *type, *at, *options;
  unsigned long flags;
  bool needed;
};

static const struct mount_entry mounts[] = {
    {"devtmpfs", "/dev", "mode=0755", MS_NOSUID, true},
    {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, false},
    {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, false},
    {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV, false},
    {"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV, false},
};

static const char *const links[][2] = {
    {"/proc/self/fd", "/dev/fd"},
    {"/proc/self/fd/0", "/dev/stdin"},
    {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"},
};

/* The kernel opens /dev/console for us only when the initrd holds that node. */
static void take_console(void) {
  int fd = open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) fd = open("/dev/null", O_RDWR);
  for (int i = 0; fd >= 0 && i < 3; i++)
    if (fd != i) dup2(fd, i);
  if (fd > 2) close(fd);
}

void init_mounts(void) {
  int failed = 0;
  const char *what = NULL;
  umask(0);
  for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
    const struct mount_entry *m = &mounts[i];
    mkdir(m->at, 0755);
    if (mount(m->type, m->at, m->type, m->flags, m->options) == 0 || errno == EBUSY || !m->needed) continue;
    failed = errno;
    what = m->at;
  }
  umask(022);
  /* As root's processes have it: the child of a spawn then needs no step to become root. */
  (void)!setgroups(1, (gid_t[]){0});
  take_console();
  if (failed) console_die(what, failed);
  for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) (void)!symlink(links[i][0], links[i][1]);
  struct rlimit files = {.rlim_cur = FILES_MAX, .rlim_max = FILES_MAX};
  setrlimit(RLIMIT_NOFILE, &files);
  /* Ctrl-Alt-Del becomes a SIGINT. */
  reboot(RB_DISABLE_CAD);
  cgroup_open();
}

static void raise_loopback(void) {
  struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (ioctl(fd, SIOCSIFFLAGS, &lo) < 0) console_line("loopback: %s", strerror(errno));
  close(fd);
}

static void load_late(struct deadline *d) {
  (void)d;
  modules_load_late();
}

void init_devices(void) {
  static struct deadline late;
  uevents_watch();
  modules_open();
  ports_scan();
  /* Between two modules, events: a port that has come is opened, and its host gets its HELLO while we load on. */
  while (modules_next()) {
    loop_turn(false);
    channels_pump();
  }
  uevents_catch_up();
  generation_event();
  listen_vsock();
  online_by_itself();
  raise_loopback();
  root_enter();
  /* The kernel makes what it doesn't know on its command line our environment: a VMM may have a terminal beside the log. */
  const char *terminal = getenv("polyvisor_console");
  int console = open(terminal ? terminal : "/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (console >= 0) console_shell_open(console);
  deadline_set(&late, LATE_MS, load_late);
}
