#define _GNU_SOURCE
#include "mac.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int set_flags(int fd, struct ifreq *card, short flags) {
  card->ifr_flags = flags;
  return ioctl(fd, SIOCSIFFLAGS, card) < 0 ? -errno : 0;
}

static int turn(int fd, const char *name, const uint8_t *mask) {
  struct ifreq address = {0}, state = {0};
  strncpy(address.ifr_name, name, IFNAMSIZ - 1);
  strncpy(state.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, SIOCGIFHWADDR, &address) < 0 || ioctl(fd, SIOCGIFFLAGS, &state) < 0) return -errno;
  if (address.ifr_hwaddr.sa_family != ARPHRD_ETHER) return 0;
  uint8_t *bytes = (uint8_t *)address.ifr_hwaddr.sa_data;
  for (int i = 0; i < MAC_BYTES; i++) bytes[i] ^= mask[i];
  /* Of one card, and given by hand (IEEE 802). */
  bytes[0] = (uint8_t)((bytes[0] & 0xfc) | 0x02);
  short flags = state.ifr_flags;
  int error = flags & IFF_UP ? set_flags(fd, &state, (short)(flags & ~IFF_UP)) : 0;
  if (!error && ioctl(fd, SIOCSIFHWADDR, &address) < 0) error = -errno;
  if (flags & IFF_UP) {
    int up = set_flags(fd, &state, flags);
    if (!error) error = up;
  }
  return error;
}

int mac_turn(const uint8_t mask[MAC_BYTES]) {
  struct if_nameindex *cards = if_nameindex();
  if (!cards) return -errno;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int error = fd < 0 ? -errno : 0;
  for (struct if_nameindex *card = cards; !error && card->if_name; card++) error = turn(fd, card->if_name, mask);
  if (fd >= 0) close(fd);
  if_freenameindex(cards);
  return error;
}
