#define _GNU_SOURCE
#include "sync.h"

#include "agent.h"
#include "fields.h"
#include "mac.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENTROPY_MIN 32u
#define ENTROPY_MAX 512u
#define HOSTNAME_MAX 63u
#define MACHINE_ID_LENGTH 32u

struct sync_request {
  struct field entropy, hostname, machine_id, mac_mask;
  uint64_t clock;
};

/* As machine-id(5) has it. */
static bool is_machine_id(const struct field *f) {
  for (size_t i = 0; i < f->length; i++)
    if (!memchr("0123456789abcdef", f->data[i], 16)) return false;
  return true;
}

static const char *parse(struct sync_request *q, const uint8_t *payload, size_t length) {
  struct field_reader r;
  struct field f;
  fields_read(&r, payload, length);
  while (fields_next(&r, &f)) {
    if (!field_once(&r, &f)) break;
    if (f.tag == FIELD_ENTROPY) {
      if (f.length < ENTROPY_MIN || f.length > ENTROPY_MAX) r.why = "entropy must be 32 to 512 bytes";
      q->entropy = f;
    } else if (f.tag == FIELD_CLOCK) {
      field_integer(&r, &f, INT64_MAX, &q->clock);
    } else if (f.tag == FIELD_HOSTNAME) {
      field_string(&r, &f, 1, HOSTNAME_MAX);
      q->hostname = f;
    } else if (f.tag == FIELD_MACHINE_ID) {
      field_string(&r, &f, MACHINE_ID_LENGTH, MACHINE_ID_LENGTH);
      if (!r.why && !is_machine_id(&f)) r.why = "a machine id is 32 lower-case hexadecimal digits";
      q->machine_id = f;
    } else if (f.tag == FIELD_MAC_MASK) {
      if (f.length != MAC_BYTES) r.why = "mac-mask must be 6 bytes";
      q->mac_mask = f;
    } else {
      r.why = "SYNC has an unknown field";
    }
  }
  return r.why;
}

/* Credited as full entropy, then drawn from at once: a clone must not share its next numbers with its siblings. */
static int reseed(const struct field *f) {
  struct {
    struct rand_pool_info info;
    uint8_t bytes[ENTROPY_MAX];
  } pool;
  /* Stays open: a clone finds it so. */
  static int fd = -1;
  if (fd < 0) fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  pool.info.entropy_count = (int)f->length * 8;
  pool.info.buf_size = (int)f->length;
  memcpy((uint8_t *)&pool + sizeof pool.info, f->data, f->length);
  int error = 0;
  if (ioctl(fd, RNDADDENTROPY, &pool.info) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0) error = -errno;
  explicit_bzero(&pool, sizeof pool);
  return error;
}

/* One write of the same length, so that a reader sees the old id or the new one. A template has the file for this: to make one and to
   rename it takes a clone three times as long, before its first command. */
static bool rewrite_machine_id(const char *line, size_t length) {
  struct stat st;
  int fd = open("/etc/machine-id", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_size == (off_t)length &&
              write(fd, line, length) == (ssize_t)length;
  close(fd);
  return done;
}

/* Replaces the file as a whole; what is mounted over it, as systemd does where /etc can't be written, goes first. */
static int set_machine_id(const struct field *f) {
  char line[MACHINE_ID_LENGTH + 1];
  memcpy(line, f->data, MACHINE_ID_LENGTH);
  line[MACHINE_ID_LENGTH] = '\n';
  if (rewrite_machine_id(line, sizeof line)) return 0;
  if (mkdir("/etc", 0755) < 0 && errno != EEXIST) return -errno;
  (void)umount2("/etc/machine-id", MNT_DETACH | UMOUNT_NOFOLLOW);
  int fd = open("/etc/.machine-id.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0444);
  if (fd < 0) return -errno;
  int error = write(fd, line, sizeof line) == (ssize_t)sizeof line ? 0 : -EIO;
  if (close(fd) < 0 && !error) error = -errno;
  if (!error && rename("/etc/.machine-id.new", "/etc/machine-id") < 0) error = -errno;
  if (error) (void)unlink("/etc/.machine-id.new");
  return error;
}

static int set_clock(uint64_t nanoseconds) {
  struct timespec t = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
  return clock_settime(CLOCK_REALTIME, &t) < 0 ? -errno : 0;
}

static int set_name(const struct field *f) {
  char name[HOSTNAME_MAX + 1];
  memcpy(name, f->data, f->length);
  name[f->length] = 0;
  /* In host mode the name is the host's; an image's files may have it all the same. */
  if (agent.init && sethostname(name, f->length) < 0) return -errno;
  root_name(name);
  return 0;
}

int sync_serve(const uint8_t *payload, size_t length, const char **why) {
  struct sync_request q = {0};
  *why = parse(&q, payload, length);
  if (*why) return -EINVAL;
  int error = 0;
  /* In host mode /etc and the network cards are the host's. */
  if ((q.machine_id.data || q.mac_mask.data) && !agent.init) return -EOPNOTSUPP;
  if (agent.init) {
    if (q.entropy.data) error = reseed(&q.entropy);
    if (!error && q.clock) error = set_clock(q.clock);
    if (!error && q.hostname.data) error = set_name(&q.hostname);
    if (!error && q.machine_id.data) error = set_machine_id(&q.machine_id);
    if (!error && q.mac_mask.data) error = mac_turn(q.mac_mask.data);
  } else if (q.hostname.data) {
    error = set_name(&q.hostname);
  }
  if (!error && q.entropy.data) agent.reseeds++;
  return error;
}
