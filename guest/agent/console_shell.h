/* A login shell on the console: started when somebody types a line there, so that it costs nothing until then. */
#ifndef POLYVISOR_CONSOLE_SHELL_H
#define POLYVISOR_CONSOLE_SHELL_H

#include <stdbool.h>

/* Serves the terminal from now on; closes a descriptor that is no terminal. */
void console_shell_open(int tty);

/* Ends the shell and all that it started. */
void console_shell_end(void);
bool console_shell_runs(void);

#endif
