#define _GNU_SOURCE
#include "root.h"

#include "channel.h"
#include "console.h"
#include "loop.h"
#include "scratch.h"

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

static bool is_there(const char *device, char *path, size_t size) {
  return access(device, F_OK) == 0 && (size_t)snprintf(path, size, "%s", device) < size;
}

/* The kernel tells of every new device, and each of its words ends a turn of the loop. Puts the path of what `found` finds. */
static void await(const char *device, bool (*found)(const char *device, char *path, size_t size), char *path, size_t size) {
  struct deadline limit = {0};
  deadline_set(&limit, WAIT_MS, too_late);
  while (!found(device, path, size)) {
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

/* The writable layer: a file system on a disk of its own, or in memory and of a given size. */
static void mount_layer(const char *scratch) {
  char device[256], options[96];
  if (strncmp(scratch, "UUID=", 5) == 0) {
    await(scratch + 5, scratch_find, device, sizeof device);
    must_mount(device, BASE "/layer", "ext4", MS_NOATIME, NULL);
    return;
  }
  snprintf(options, sizeof options, "mode=0755%s%s", scratch[0] ? ",size=" : "", scratch);
  must_mount("tmpfs", BASE "/layer", "tmpfs", 0, options);
}

static void build(const char *device, const char *type, const char *scratch) {
  make_folder(BASE);
  make_folder(BASE "/image");
  make_folder(BASE "/layer");
  make_folder(BASE "/root");
  must_mount(device, BASE "/image", type, MS_RDONLY, NULL);
  mount_layer(scratch);
  make_folder(BASE "/layer/upper");
  make_folder(BASE "/layer/work");
  must_mount("overlay", BASE "/root", "overlay", 0,
             "lowerdir=" BASE "/image,upperdir=" BASE "/layer/upper,workdir=" BASE "/layer/work");
}

static bool entered;

/* What is mounted already moves along; an image may lack the folders for it. Its own /run and /tmp may hold something. */
static void enter(void) {
  static const char *const moved[] = {"/dev", "/proc", "/sys"};
  for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++) {
    char at[64];
    snprintf(at, sizeof at, BASE "/root%s", moved[i]);
    make_folder(at);
    must_mount(moved[i], at, NULL, MS_MOVE, NULL);
  }
  if (chdir(BASE "/root") < 0) console_die("root", errno);
  must_mount(".", "/", NULL, MS_MOVE, NULL);
  if (chroot(".") < 0 || chdir("/") < 0) console_die("root", errno);
  mkdir("/run", 0755);
  if (mkdir("/tmp", 0755) == 0) chmod("/tmp", 01777);
  mkdir("/etc", 0755);
  entered = true;
}

/* Writes a file that the image lacks, or has empty as a container's runtime leaves it; and one that we wrote before. */
static void supply(const char *path, const char *text, bool *ours) {
  struct stat found;
  if (!*ours && stat(path, &found) == 0 && (found.st_size > 0 || !S_ISREG(found.st_mode))) return;
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
  if (fd < 0) return;
  *ours = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  close(fd);
}

void root_entered(void) { entered = true; }

static struct {
  const char *path;
  bool ours;
} supplied[] = {{"/etc/hosts", false}, {"/etc/hostname", false}, {"/etc/resolv.conf", false}};

void root_name(const char *name) {
  char text[3][256] = {"", "", ""};
  if (!entered) return;
  snprintf(text[0], sizeof text[0], "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 %.63s\n", name);
  snprintf(text[1], sizeof text[1], "%.63s\n", name);
  for (size_t i = 0; i < sizeof supplied / sizeof supplied[0]; i++)
    supply(supplied[i].path, text[i], &supplied[i].ours);
}

bool root_supplied(const char *path) {
  for (size_t i = 0; i < sizeof supplied / sizeof supplied[0]; i++)
    if (strcmp(path, supplied[i].path) == 0) return supplied[i].ours;
  return false;
}

void root_enter(void) {
  char line[4096], device[256], path[256], type[64] = "ext4", scratch[64] = "";
  if (!read_command_line(line, sizeof line) || !parameter(line, "polyvisor.root", device, sizeof device)) return;
  parameter(line, "polyvisor.rootfstype", type, sizeof type);
  parameter(line, "polyvisor.scratch", scratch, sizeof scratch);
  await(device, is_there, path, sizeof path);
  build(path, type, scratch);
  enter();
}
