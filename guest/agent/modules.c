#define _GNU_SOURCE
#include "modules.h"

#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE of linux/module.h, since 5.17 */

static FILE *list;

void modules_open(void) { list = fopen(MODULES_LIST, "re"); }

static int load(const char *path, const char *parameters) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  size_t length = strlen(path);
  int flags = length > 3 && strcmp(path + length - 3, ".ko") != 0 ? COMPRESSED : 0;
  int error = syscall(SYS_finit_module, fd, parameters, flags) < 0 && errno != EEXIST ? errno : 0;
  close(fd);
  return error;
}

bool modules_next(void) {
  char line[1024];
  while (list && fgets(line, sizeof line, list)) {
    line[strcspn(line, "\r\n")] = 0;
    if (line[0] == 0 || line[0] == '#') continue;
    char *parameters = strchr(line, ' ');
    if (parameters) *parameters++ = 0;
    int error = load(line, parameters ? parameters : "");
    /* ENOENT from the kernel: a symbol is missing, so a module that should come first isn't there. */
    if (error == ENOENT && access(line, F_OK) == 0) console_line("module %s: it needs another one first", line);
    else if (error) console_line("module %s: %s", line, strerror(error));
    return true;
  }
  if (list) fclose(list);
  list = NULL;
  return false;
}
