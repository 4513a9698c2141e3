#define _GNU_SOURCE
#include "modules.h"

#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE of linux/module.h, since 5.17 */
#define FOLDER "/lib/modules"
#define NAME_SIZE 64
#define TABLE_BYTES_MAX (16 << 20)

/* A line of modules.dep. */
struct module {
  struct module *next;
  char name[NAME_SIZE];
  const char *path;  /* below the folder */
  const char *needs; /* paths, separated by blanks; the last is to be loaded first */
  bool loaded, late, wanted;
};

static FILE *list;
static int folder = -1; /* of this kernel's modules */
static size_t folder_length;
static struct module *modules;
static char *aliases = ""; /* lines "alias PATTERN NAME", each ended by a NUL, then an empty one */
static bool nothing_waits;

/* A file's lines, each ended by a NUL, and an empty one behind them; NULL when it can't be read. */
static char *read_lines(int dir, const char *path) {
  int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
  struct stat s;
  if (fd < 0) return NULL;
  char *text = fstat(fd, &s) == 0 && s.st_size < TABLE_BYTES_MAX ? malloc((size_t)s.st_size + 2) : NULL;
  ssize_t n = text ? read(fd, text, (size_t)s.st_size) : -1;
  close(fd);
  if (n < 0) {
    free(text);
    return NULL;
  }
  text[n] = text[n + 1] = 0;
  for (char *p = text; (p = strchr(p, '\n')); p++) *p = 0;
  return text;
}

static const char *next_line(const char *line) { return line + strlen(line) + 1; }

/* `kernel/drivers/virtio-x.ko.xz` is called virtio_x. */
static void take_name(struct module *m) {
  const char *base = strrchr(m->path, '/');
  base = base ? base + 1 : m->path;
  size_t n = 0;
  for (; base[n] && base[n] != '.' && n < NAME_SIZE - 1; n++) m->name[n] = base[n] == '-' ? '_' : base[n];
  m->name[n] = 0;
}

static struct module *find_name(const char *name) {
  struct module *m = modules;
  while (m && strcmp(m->name, name) != 0) m = m->next;
  return m;
}

static struct module *find_path(const char *path, size_t length) {
  struct module *m = modules;
  while (m && (strncmp(m->path, path, length) != 0 || m->path[length])) m = m->next;
  return m;
}

/* Puts the modules of modules.dep in the list; `text` is kept. */
static void read_needs(char *text) {
  const char *next;
  for (char *line = text; line && *line; line = (char *)next) {
    next = next_line(line);
    char *colon = strchr(line, ':');
    struct module *m = colon ? calloc(1, sizeof *m) : NULL;
    if (!m) continue;
    *colon = 0;
    m->path = line;
    m->needs = colon + 1;
    take_name(m);
    m->next = modules;
    modules = m;
  }
}

static void read_tables(void) {
  struct utsname kernel;
  char path[sizeof FOLDER + sizeof kernel.release];
  uname(&kernel);
  folder_length = (size_t)snprintf(path, sizeof path, FOLDER "/%s", kernel.release);
  folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  read_needs(read_lines(folder, "modules.dep"));
  char *text = read_lines(folder, "modules.alias");
  if (text) aliases = text;
  char *late = read_lines(AT_FDCWD, MODULES_LATER);
  for (const char *name = late; name && *name; name = next_line(name)) {
    struct module *m = find_name(name);
    if (m) m->late = true;
  }
  free(late);
}

void modules_open(void) {
  list = fopen(MODULES_LIST, "re");
  read_tables();
}

static void load(int dir, const char *path, const char *parameters) {
  int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
  size_t length = strlen(path);
  int flags = length > 3 && strcmp(path + length - 3, ".ko") != 0 ? COMPRESSED : 0;
  int error = fd < 0 ? errno : syscall(SYS_finit_module, fd, parameters, flags) < 0 ? errno : 0;
  /* ENOENT from the kernel: a symbol is missing, so a module that should come first isn't there. */
  if (fd >= 0 && error == ENOENT) console_line("module %s: it needs another one first", path);
  else if (error && error != EEXIST) console_line("module %s: %s", path, strerror(error));
  if (fd >= 0) close(fd);
}

bool modules_next(void) {
  char line[1024];
  while (list && fgets(line, sizeof line, list)) {
    line[strcspn(line, "\r\n")] = 0;
    if (line[0] == 0 || line[0] == '#') continue;
    char *parameters = strchr(line, ' ');
    if (parameters) *parameters++ = 0;
    const char *path = strlen(line) > folder_length ? line + folder_length + 1 : "";
    struct module *m = find_path(path, strlen(path));
    if (m && m->loaded) continue;
    if (m) m->loaded = true;
    load(AT_FDCWD, line, parameters ? parameters : "");
    return true;
  }
  if (list) fclose(list);
  list = NULL;
  return false;
}

/* A module is tried once: what failed the first time fails again. */
static void load_module(struct module *m) {
  if (m->loaded) return;
  m->loaded = true;
  const char *end = m->needs + strlen(m->needs);
  while (end > m->needs) {
    const char *start = end;
    while (start > m->needs && start[-1] != ' ') start--;
    struct module *needed = start < end ? find_path(start, (size_t)(end - start)) : NULL;
    if (needed && !needed->loaded) {
      needed->loaded = true;
      load(folder, needed->path, "");
    }
    end = start > m->needs ? start - 1 : m->needs;
  }
  load(folder, m->path, "");
}

/* The module of a line of the aliases, if the line's pattern begins with `prefix`; then the pattern, too. */
static struct module *alias_module(const char *line, const char *prefix, size_t length, char *pattern, size_t size) {
  if (strncmp(line, "alias ", 6) != 0 || strncmp(line + 6, prefix, length) != 0) return NULL;
  const char *name = strrchr(line, ' ') + 1;
  int n = snprintf(pattern, size, "%.*s", (int)(name - line) - 7, line + 6);
  return n > 0 && (size_t)n < size ? find_name(name) : NULL;
}

void modules_drive(const char *modalias) {
  char pattern[512];
  /* No bus' name begins with a wildcard, and most lines are of another bus. */
  size_t prefix = strnlen(modalias, 2);
  for (const char *line = aliases; *line; line = next_line(line)) {
    struct module *m = alias_module(line, modalias, prefix, pattern, sizeof pattern);
    if (!m || m->loaded || fnmatch(pattern, modalias, 0) != 0) continue;
    m->wanted = true;
    if (!m->late || nothing_waits) load_module(m);
  }
}

bool modules_each_alias(const char *prefix, void (*each)(const char *alias)) {
  char pattern[512];
  bool any = false;
  for (const char *line = aliases; *line; line = next_line(line)) {
    struct module *m = alias_module(line, prefix, strlen(prefix), pattern, sizeof pattern);
    if (!m || m->loaded) continue;
    any = true;
    if (each) each(pattern);
  }
  return any;
}

void modules_load_late(void) {
  nothing_waits = true;
  for (struct module *m = modules; m; m = m->next)
    if (m->late && m->wanted) load_module(m);
}
