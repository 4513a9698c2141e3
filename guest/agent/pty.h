/* Pseudo-terminals. */
#ifndef POLYVISOR_PTY_H
#define POLYVISOR_PTY_H

#include "users.h"

#include <stdint.h>

/* Opens one, owned by the user. Returns the master, which doesn't block, or -errno. Sizes of 0 are left as they are. */
int pty_open(uint16_t rows, uint16_t cols, const struct user *user, int *slave);

int pty_resize(int master, uint16_t rows, uint16_t cols);

/* The terminal's foreground process group, or -errno. */
int pty_foreground(int master);

/* The character that means end of file to the program at the moment; -1 in raw mode. */
int pty_end_of_file(int master);

#endif
