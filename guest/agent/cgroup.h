/* One cgroup v2 for each process tree, under /sys/fs/cgroup/polyvisor. */
#ifndef POLYVISOR_CGROUP_H
#define POLYVISOR_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes the parent group. Afterwards cgroup_usable says whether groups can be made and ended by cgroup.kill. */
void cgroup_open(void);
bool cgroup_usable(void);

/* What the processes of a group may use together; 0: no limit. */
struct limits {
  uint64_t pids;
  uint64_t memory; /* bytes */
  uint64_t cpu;    /* thousandths of one CPU */
};

bool limits_any(const struct limits *l);

/* Makes a group, or takes the one that was kept, and tells its `id`; a limit of 0 is no limit. Returns its folder's descriptor or -errno. */
int cgroup_make(uint32_t *id, const struct limits *limits);

/* Puts a process into the group. Returns 0 or -errno. */
int cgroup_enter(int group, pid_t pid);

/* Keeps a group for the next tree when it is empty and as good as new: the descriptor is then no longer the caller's. */
bool cgroup_keep(uint32_t id, int group);

/* The same for a group in which nobody is left, by the caller's word: it is looked at only later, by cgroup_tidy. */
bool cgroup_leave(uint32_t id, int group);

/* Looks at what was left: keeps it or removes it. To be called when nobody waits for an answer. */
void cgroup_tidy(void);

/* Has all processes in groups of ours stand still, or go on once each that asked for it wants that. Does nothing without cgroups. */
void cgroup_freeze(bool freeze);
/* Whether they do, and one that is started now will. */
bool cgroup_frozen(void);

/* Ends every process of the group, and of groups that were made inside it. */
void cgroup_kill(int group);

/* Sends a signal to every process of the group and of groups inside it. Returns 0, or -errno of the last that failed. */
int cgroup_signal(int group, int signal);

/* Whether the kernel killed a process of the group for want of memory. */
bool cgroup_ran_out_of_memory(int group);

/* Removes the group and groups inside it. Returns 0, or -EBUSY while a process is left. */
int cgroup_remove(uint32_t id);

/* Opens the file that becomes ready (EPOLLPRI) when the group's last process ends. Returns it or -errno. */
int cgroup_open_events(int group);

/* Whether any process is left, read anew from that file. */
bool cgroup_populated(int events);

#endif
