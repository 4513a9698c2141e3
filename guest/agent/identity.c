#include "identity.h"

#include "agent.h"
#include "cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#define FEATURES "spawn pty signal detach sync info poweroff online rescan put get image dial listen"

const char *identity_features(void) {
  if (agent.init) return cgroup_usable() ? FEATURES " machine-id mac cgroup prepare" : FEATURES " machine-id mac";
  return cgroup_usable() ? FEATURES " cgroup" : FEATURES;
}

const char *identity_boot_id(void) {
  static char id[37];
  if (id[0]) return id;
  int fd = open(agent.init ? "/proc/sys/kernel/random/boot_id" : "/proc/sys/kernel/random/uuid", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return id;
  ssize_t n = read(fd, id, sizeof id - 1);
  id[n > 0 ? n : 0] = 0;
  close(fd);
  return id;
}
