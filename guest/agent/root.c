#define _GNU_SOURCE
#include "root.h"

#include "channel.h"
#include "console.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 10000
#define BASE "/.polyvisor"

/* The value of `name=` on the command line; the last one counts, as for the kernel itself. */
static bool parameter(const char *line, const char *name, char *value, size_t size) {
  bool found = false;
  size_t length = strlen(name);
  while (*line) {
    line += strspn(line, " \n");
    size_t word = strcspn(line, " \n");
    if (word > length && strncmp(line, name, length) == 0 && line[length] == '=' && word - length - 1 < size) {
      memcpy(value, line + length + 1, word - length - 1);
      value[word - length - 1] = 0;
      found = true;
    }
    line += word;
  }
  return found;
}

static bool read_command_line(char *text, size_t size) {
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  return n > 0;
}

static bool late;

static void too_late(struct deadline *d) {
  (void)d;
  late = true;
}

/* The kernel tells of every new device, and each of its words ends a turn of the loop. */
static void await(const char *device) {
  struct deadline limit = {0};
  deadline_set(&limit, WAIT_MS, too_late);
  while (access(device, F_OK) < 0) {
    if (late) console_die(device, ENODEV);
    loop_turn(true);
    channels_pump();
  }
  deadline_clear(&limit);
}

static void make_folder(const char *path) {
  if (mkdir(path, 0755) < 0 && errno != EEXIST) console_die(path, errno);
}

static void must_mount(const char *source, const char *at, const char *type, unsigned long flags, const char *options) {
  if (mount(source, at, type, flags, options) < 0) console_die(type ? type : at, errno);
}

static void build(const char *device, const char *type) {
  make_folder(BASE);
  make_folder(BASE "/image");
  make_folder(BASE "/layer");
  make_folder(BASE "/root");
  must_mount(device, BASE "/image", type, MS_RDONLY, NULL);
  must_mount("tmpfs", BASE "/layer", "tmpfs", 0, "mode=0755");
  make_folder(BASE "/layer/upper");
  make_folder(BASE "/layer/work");
  must_mount("overlay", BASE "/root", "overlay", 0,
             "lowerdir=" BASE "/image,upperdir=" BASE "/layer/upper,workdir=" BASE "/layer/work");
}

/* What is mounted already moves along; an image may lack the folders for it. */
static void enter(void) {
  static const char *const moved[] = {"/dev", "/proc", "/sys", "/run", "/tmp"};
  for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++) {
    char at[64];
    snprintf(at, sizeof at, BASE "/root%s", moved[i]);
    make_folder(at);
    must_mount(moved[i], at, NULL, MS_MOVE, NULL);
  }
  if (chdir(BASE "/root") < 0) console_die("root", errno);
  must_mount(".", "/", NULL, MS_MOVE, NULL);
  if (chroot(".") < 0 || chdir("/") < 0) console_die("root", errno);
}

void root_enter(void) {
  char line[4096], device[256], type[64] = "ext4";
  if (!read_command_line(line, sizeof line) || !parameter(line, "polyvisor.root", device, sizeof device)) return;
  parameter(line, "polyvisor.rootfstype", type, sizeof type);
  await(device);
  build(device, type);
  enter();
}
