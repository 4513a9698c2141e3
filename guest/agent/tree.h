/* A process tree: the first process that SPAWN started and all its descendants, however far they fled. */
#ifndef POLYVISOR_TREE_H
#define POLYVISOR_TREE_H

#include "cgroup.h"
#include "loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tree_options {
  struct limits limits;
  bool keep_rest;                /* the rest lives on when the first process has ended */
};

struct tree {
  struct tree *next;
  pid_t pid;          /* the first process; 0 until it is known */
  bool first_ended;   /* then `status` is waitpid's */
  bool gone;          /* nobody is left */
  bool out_of_memory; /* valid when first_ended */
  bool keep_rest;
  int status;
  void (*changed)(struct tree *); /* called after pid, first_ended or gone has changed */

  /* with a cgroup */
  uint32_t id;
  int group;
  struct watch events;

  /* without: a supervisor process of ours that every orphan of the tree falls to */
  pid_t supervisor;
  struct watch control;
};

/* Starts the tree: runs `child(arg)`, which must not return, in a new process. Returns 0 or -errno. */
int tree_start(struct tree *t, const struct tree_options *options, void (*child)(void *), void *arg,
               void (*changed)(struct tree *));

/* The same for a process that is there already, with its group: both are the tree's from now on. */
void tree_adopt(struct tree *t, pid_t pid, uint32_t id, int group, void (*changed)(struct tree *));

/* Ends every process of the tree; `gone` comes when that is done. */
void tree_kill(struct tree *t);

/* Sends a signal to the first process, or to all. Returns 0 or -errno. */
int tree_signal(struct tree *t, int signal, bool all);

/* Reaps what has ended: to be called upon SIGCHLD. */
void tree_reap(void);

/* Frees what a tree that is gone (or was never started) holds. */
void tree_close(struct tree *t);

#endif
