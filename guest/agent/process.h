/* A process that SPAWN started: its stream in a session, its pipes, its tree, from SPAWN to EXIT. */
#ifndef POLYVISOR_PROCESS_H
#define POLYVISOR_PROCESS_H

#include "frame.h"
#include "inflow.h"
#include "loop.h"
#include "output.h"
#include "spawn.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>

struct session;

/* Channels 1 and 2. */
struct process_output {
  struct watch watch;
  uint64_t credit;
  bool open, readable;
  bool large; /* its pipe was made larger, or is none */
};

struct process {
  struct process *next;
  struct session *session; /* whose stream this is; NULL when nobody hears of it any more */
  struct session *holds;   /* a session that can't begin before this tree is gone */
  uint32_t stream;
  bool started, told, pty, detached, timed_out;
  char *program, *cwd;
  struct spawn_failure failure; /* why it didn't start; error 0: none */
  struct tree tree;
  struct watch report;
  struct watch input_watch;
  struct inflow input;
  struct process_output output[2];
  struct deadline timeout;
};

/* Serves a SPAWN. Returns 0; or -errno with a message, and the stream isn't opened. */
int process_spawn(struct session *session, uint32_t stream, const uint8_t *payload, size_t length, char *message,
                  size_t size);

struct process *process_find(const struct session *session, uint32_t stream);
unsigned process_count(void);           /* alive */
unsigned process_streams(const struct session *session);

/* A protocol error is returned as its description, else NULL. */
const char *process_data(struct process *p, const struct frame *f);
const char *process_credit(struct process *p, const struct frame *f);
int process_signal(struct process *p, int signal, bool tree);
int process_resize(struct process *p, uint16_t rows, uint16_t cols);
void process_cancel(struct process *p);

/* Moves what can be moved for one session: input, output frames, EXIT. Returns whether it put anything out. */
bool processes_pump(struct session *session, struct output *out);

/* The session is over: ends its processes (detached ones live on). It may not begin anew before they are gone. */
void processes_abandon(struct session *session);
bool processes_hold(const struct session *session);

/* The channel itself is no more: forget it. */
void processes_forget(struct session *session);

/* All processes end: with SIGTERM, or by force. */
void processes_end_all(bool force);
bool processes_any(void);

#endif
