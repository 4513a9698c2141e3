#define _GNU_SOURCE
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DISKS "/sys/block"
/* Linux, fs/ext4/ext4.h: struct ext4_super_block. */
#define SUPERBLOCK 1024
#define AT_MAGIC 0x38
#define AT_UUID 0x68
#define UUID_BYTES 16

static bool parse_uuid(const char *text, uint8_t *uuid) {
  size_t n = 0;
  for (; n < UUID_BYTES; n++) {
    if (*text == '-') text++;
    unsigned byte;
    if (sscanf(text, "%2x", &byte) != 1) return false;
    uuid[n] = (uint8_t)byte;
    text += 2;
  }
  return *text == 0;
}

static bool has_uuid(const char *path, const uint8_t *uuid) {
  uint8_t block[AT_UUID + UUID_BYTES];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = pread(fd, block, sizeof block, SUPERBLOCK);
  close(fd);
  return n == sizeof block && block[AT_MAGIC] == 0x53 && block[AT_MAGIC + 1] == 0xef &&
         memcmp(block + AT_UUID, uuid, UUID_BYTES) == 0;
}

bool scratch_find(const char *text, char *path, size_t size) {
  uint8_t uuid[UUID_BYTES];
  DIR *disks = parse_uuid(text, uuid) ? opendir(DISKS) : NULL;
  struct dirent *disk;
  bool found = false;
  while (disks && !found && (disk = readdir(disks)))
    found = (size_t)snprintf(path, size, "/dev/%s", disk->d_name) < size && has_uuid(path, uuid);
  if (disks) closedir(disks);
  return found;
}
