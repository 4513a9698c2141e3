#define _GNU_SOURCE
#include "clone.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Both processes go on from here on one stack, so the system call must not be a function of its own: the child would
   write over the frame that the parent returns through. */
#if defined(__x86_64__)
#define BORROWED_MEMORY (CLONE_VM | CLONE_VFORK)
static inline long clone3(struct clone_args *args) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_clone3), "D"(args), "S"(sizeof *args) : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
#define BORROWED_MEMORY (CLONE_VM | CLONE_VFORK)
static inline long clone3(struct clone_args *args) {
  register long number __asm__("x8") = SYS_clone3;
  register long first __asm__("x0") = (long)args;
  register long second __asm__("x1") = sizeof *args;
  __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
  return first;
}
#else
#define BORROWED_MEMORY 0
static long clone3(struct clone_args *args) {
  long result = syscall(SYS_clone3, args, sizeof *args);
  return result < 0 ? -errno : result;
}
#endif

__attribute__((noinline)) pid_t clone_into(int group, void (*child)(void *), void *arg) {
  struct clone_args args;
  memset(&args, 0, sizeof args);
  args.flags = CLONE_INTO_CGROUP | BORROWED_MEMORY;
  args.exit_signal = SIGCHLD;
  args.cgroup = (uint64_t)group;
  long pid = clone3(&args);
  if (pid == 0) {
    child(arg);
    _exit(127);
  }
  return (pid_t)pid;
}

pid_t clone_apart(int group, void (*child)(void *), void *arg) {
  struct clone_args args;
  memset(&args, 0, sizeof args);
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = (uint64_t)group;
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    child(arg);
    _exit(127);
  }
  return pid < 0 ? -errno : (pid_t)pid;
}
