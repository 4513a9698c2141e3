/* A fuzzer for the reading of archives: makes plausible ones, changes some bytes, and feeds them in pieces of two sizes. Both must
   find the same, and what is unpacked must stay in its folder. Deterministic for a seed. Usage: fuzz-tar SEED MILLISECONDS FOLDER */
#define _GNU_SOURCE
#include "agent.h"
#include "tar_read.h"
#include "tar_write.h"
#include "unpack.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARCHIVE_MAX 200000u

struct agent agent;

static uint64_t state;
static unsigned long entries, files, bads;

static uint32_t draw(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % below;
}

static void expect_true(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "broken: %s\n", what);
  abort();
}

static const char *draw_name(char *out) {
  static const char *const parts[] = {"a", "b", "c", "a", ".", "..", "", "a-rather-long-name-that-repeats-itself-a-rather-long-name"};
  out[0] = 0;
  for (uint32_t n = 1 + draw(draw(8) ? 3 : 70); n > 0; n--) {
    if (strlen(out) > 4000) break;
    strcat(out, parts[draw(draw(6) ? 4 : 8)]);
    if (n > 1 || draw(6) == 0) strcat(out, "/");
  }
  if (out[0] == 0) strcpy(out, "x");
  return out;
}

static size_t put_entry(uint8_t *at) {
  static const char types[] = "000555122";
  char name[4200], link[4200];
  struct tar_entry e = {
      .type = (enum tar_type)types[draw(9)],
      .name = draw_name(name),
      .link = "",
      .mode = draw(010000),
      .uid = draw(4) ? 0 : draw(UINT32_MAX),
      .gid = draw(3),
      .mtime = draw(3) ? draw(UINT32_MAX) : -(int64_t)draw(1000),
      .mtime_ns = draw(2) ? draw(1000000000) : 0,
  };
  if (e.type == TAR_FILE) e.size = draw(10) ? draw(2000) : draw(1u << 31) * (uint64_t)draw(1000);
  if (e.type == TAR_SYMLINK || e.type == TAR_HARD_LINK) e.link = draw_name(link);
  size_t n = tar_write_entry(&e, at), body = e.size < 2000 ? (size_t)e.size + tar_padding(e.size) : 0;
  expect_true(n <= TAR_HEADERS_MAX && n % TAR_BLOCK == 0, "headers within their bounds");
  memset(at + n, (int)draw(256), body);
  return n + body;
}

static size_t make_archive(uint8_t *at) {
  size_t length = 0;
  for (uint32_t n = 1 + draw(12); n > 0; n--) length += put_entry(at + length);
  if (draw(5)) {
    memset(at + length, 0, TAR_TRAILER);
    length += TAR_TRAILER;
  }
  for (uint32_t n = draw(3) ? 0 : draw(4); n > 0; n--) {
    uint32_t where = draw((uint32_t)length);
    at[where] = (uint8_t)draw(256);
    /* Half of them get a checksum that holds: what lies behind that check is looked at too. */
    uint8_t *block = at + where / TAR_BLOCK * TAR_BLOCK;
    if (draw(2) || where / TAR_BLOCK * TAR_BLOCK + TAR_BLOCK > length) continue;
    uint32_t sum = 8 * ' ';
    for (size_t i = 0; i < TAR_BLOCK; i++) sum += i >= 148 && i < 156 ? 0 : block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
  }
  if (draw(6) == 0) length = draw((uint32_t)length + 1);
  return length;
}

static uint64_t add(uint64_t digest, const void *data, size_t length) {
  for (size_t i = 0; i < length; i++) digest = (digest ^ ((const uint8_t *)data)[i]) * 1099511628211u;
  return digest;
}

/* Reads the archive in pieces; with `u`, unpacks it. Returns a digest of what was found. */
static uint64_t feed(const uint8_t *data, size_t length, size_t piece, struct unpack *u) {
  static struct tar_reader r;
  uint64_t digest = 14695981039346656037u;
  int failed = 0;
  tar_read_start(&r);
  for (size_t fed = 0; fed < length;) {
    size_t n = length - fed < piece ? length - fed : piece, left = n;
    const uint8_t *at = data + fed;
    enum tar_result result;
    while ((result = tar_read(&r, &at, &left)) != TAR_MORE) {
      if (result == TAR_BAD) {
        if (u) bads++;
        return add(digest, r.why, strlen(r.why));
      }
      if (result == TAR_DATA) {
        digest = add(digest, r.data, r.data_length);
      } else if (result == TAR_ENTRY) {
        expect_true(strlen(r.entry.name) < TAR_NAME_MAX && strlen(r.entry.link) < TAR_NAME_MAX, "names within bounds");
        digest = add(add(digest, r.entry.name, strlen(r.entry.name)), r.entry.link, strlen(r.entry.link));
        digest = add(digest, &r.entry.size, sizeof r.entry.size);
        if (u) entries++;
      }
      if (!u || failed) continue;
      if (result == TAR_ENTRY) failed = unpack_entry(u, &r.entry);
      else if (result == TAR_DATA) failed = unpack_data(u, r.data, r.data_length);
      else failed = unpack_done(u);
      expect_true(!failed || u->message[0], "a reason for what failed");
      if (!failed && result == TAR_DONE && r.entry.type == TAR_FILE) files++;
    }
    expect_true(left == 0, "a piece that is used up");
    fed += n;
  }
  return digest;
}

static int remove_one(const char *path, const struct stat *is, int type, struct FTW *where) {
  (void)is, (void)type;
  return where->level == 0 ? 0 : remove(path);
}

static long milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  static struct unpack u;
  char target[4096];
  if (argc != 4) return 2;
  state = strtoull(argv[1], NULL, 10) * 2654435761u + 1;
  fprintf(stderr, "seed %s\n", argv[1]);
  long end = milliseconds() + strtol(argv[2], NULL, 10);
  uint8_t *data = malloc(ARCHIVE_MAX);
  snprintf(target, sizeof target, "%s/in", argv[3]);
  if (mkdir(target, 0700) < 0) return 1;
  while (milliseconds() < end) {
    static const char *const tops[] = {"", "", "a", "."};
    size_t length = make_archive(data);
    unpack_start(&u, target, tops[draw(4)]);
    uint64_t whole = feed(data, length, ARCHIVE_MAX, &u);
    unpack_end(&u);
    expect_true(u.depth == 0 && u.file < 0, "nothing left open");
    expect_true(whole == feed(data, length, 1 + draw(draw(2) ? 30 : 3000), NULL), "the same in pieces");
    nftw(target, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  }
  free(data);
  printf("%lu entries %lu files %lu errors\n", entries, files, bads);
  return 0;
}
