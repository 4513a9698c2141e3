#include "console.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

/* UTC, so that whoever reads the log later knows when. */
static size_t stamp(char *text, size_t size) {
  struct timespec now;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &now);
  return strftime(text, size, "%Y-%m-%dT%H:%M:%SZ polyvisor-agent: ", gmtime_r(&now.tv_sec, &parts));
}

void console_line(const char *format, ...) {
  char text[512];
  size_t used = stamp(text, sizeof text);
  va_list args;
  va_start(args, format);
  int count = vsnprintf(text + used, sizeof text - used - 1, format, args);
  va_end(args);
  if (count < 0) return;
  used += strlen(text + used);
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
