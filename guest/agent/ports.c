#define _GNU_SOURCE
#include "ports.h"

#include "agent.h"
#include "channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLASS "/sys/class/virtio-ports"
#define NAME "agent.channel."

/* The port's number if it is one of ours, else -1. Its name arrives a little after the port itself. */
static int channel_number(const char *port) {
  char path[300], text[64];
  snprintf(path, sizeof path, CLASS "/%s/name", port);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  size_t prefix = strlen(NAME);
  if (n != (ssize_t)prefix + 2 || memcmp(text, NAME, prefix) != 0 || text[prefix + 1] != '\n') return -1;
  int number = text[prefix] - '0';
  return number >= 0 && number < CHANNELS_MAX ? number : -1;
}

void ports_scan(void) {
  DIR *list = opendir(CLASS);
  if (!list) return;
  struct dirent *entry;
  while ((entry = readdir(list))) {
    char path[300];
    if (entry->d_name[0] == '.' || channel_number(entry->d_name) < 0) continue;
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    /* EBUSY: open already, by us. A port that is gone again is no loss either. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) channel_open(fd, NULL);
  }
  closedir(list);
}
