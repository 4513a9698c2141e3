/* The bytes of a process: channel 0 into its stdin, stdout and stderr into DATA frames, all within credit. */
#ifndef POLYVISOR_PROCESS_IO_H
#define POLYVISOR_PROCESS_IO_H

#include "process.h"

int process_open_pipes(struct process *p, const struct spawned *s);
void process_close_pipes(struct process *p);

/* Writes what waits for stdin, and gives credit back. Returns whether a frame was put. */
bool process_move_input(struct process *p, struct output *out);

/* Reads stdout and stderr into DATA frames, one each. Returns whether a frame was put. */
bool process_move_output(struct process *p, struct output *out);

/* Whether output of the process may still come. */
bool process_has_output(const struct process *p);

/* Nobody of the tree is left: a pipe that is empty is at its end now, whoever else may hold it open. */
void process_tree_gone(struct process *p);

#endif
