/* Who a process runs as, from /etc/passwd and /etc/group (no libc lookup: that would need shared objects). */
#ifndef POLYVISOR_USERS_H
#define POLYVISOR_USERS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define USER_GROUPS_MAX 64

struct user {
  uid_t uid;
  gid_t gid;
  char name[256];
  char home[256];
  gid_t groups[USER_GROUPS_MAX];
  size_t group_count;
};

/* Looks up `name`, `uid`, `name:group` or `uid:gid`; NULL is the agent's own user. A number needs no entry in the
   files. With a group given, it is the only one; else the groups of /etc/group that list the user are added.
   Returns 0 or -EINVAL (no such user or group). */
int user_find(const char *spec, struct user *out);

/* Becomes that user, in a child. Returns 0 or -errno: EPERM when the agent may not. */
int user_become(const struct user *u);

#endif
