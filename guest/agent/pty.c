#define _GNU_SOURCE
#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int pty_resize(int master, uint16_t rows, uint16_t cols) {
  struct winsize size = {.ws_row = rows, .ws_col = cols};
  return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int pty_open(uint16_t rows, uint16_t cols, const struct user *user, int *slave) {
  int unlock = 0;
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (master < 0) return -errno;
  int fd = -1, error = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) < 0) error = -errno;
  if (!error) {
    fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) error = -errno;
  }
  if (!error && (rows || cols)) error = pty_resize(master, rows, cols);
  if (error) {
    if (fd >= 0) close(fd);
    close(master);
    return error;
  }
  if (user->uid != geteuid()) (void)!fchown(fd, user->uid, (gid_t)-1);
  *slave = fd;
  return master;
}

int pty_foreground(int master) {
  int group;
  if (ioctl(master, TIOCGPGRP, &group) < 0) return -errno;
  return group > 0 ? group : -ESRCH;
}

int pty_end_of_file(int master) {
  struct termios t;
  if (tcgetattr(master, &t) < 0 || !(t.c_lflag & ICANON)) return -1;
  return t.c_cc[VEOF];
}
