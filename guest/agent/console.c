#include "console.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

void console_line(const char *format, ...) {
  char text[512] = "polyvisor-agent: ";
  size_t used = strlen(text);
  va_list args;
  va_start(args, format);
  int count = vsnprintf(text + used, sizeof text - used - 1, format, args);
  va_end(args);
  if (count < 0) return;
  used = strlen(text);
  text[used++] = '\n';
  for (size_t done = 0; done < used;) {
    ssize_t n = write(STDOUT_FILENO, text + done, used - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += (size_t)n;
  }
}

noreturn void console_die(const char *what, int error) {
  console_line("fatal: %s: %s", what, strerror(error));
  if (getpid() == 1) {
    sync();
    reboot(RB_POWER_OFF);
  }
  _exit(1);
}
