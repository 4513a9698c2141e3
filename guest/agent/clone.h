/* A new process, straight in its cgroup. */
#ifndef POLYVISOR_CLONE_H
#define POLYVISOR_CLONE_H

#include <sys/types.h>

/* Runs `child(arg)`, which must not return and must end in execve or _exit, in a new process in the cgroup whose
   folder is open as `group`. It borrows the caller's memory, as after vfork: the caller goes on once the child has
   called execve or has exited, so no page table is copied and no page is written twice. Returns the pid or -errno. */
pid_t clone_into(int group, void (*child)(void *), void *arg);

/* The same with memory of its own: the caller goes on at once, also when nobody in the group does. */
pid_t clone_apart(int group, void (*child)(void *), void *arg);

#endif
