/* Lines for whoever reads the console: `2026-01-31T12:00:00Z polyvisor-agent: ...`. */
#ifndef POLYVISOR_CONSOLE_H
#define POLYVISOR_CONSOLE_H

#include <stdnoreturn.h>

/* Printf to the console (PID 1) or to stdout (host mode); the line's end is added. */
__attribute__((format(printf, 1, 2))) void console_line(const char *format, ...);

/* Says what failed and ends: PID 1 powers the machine off (its exit would only panic the kernel), host mode exits 1. */
noreturn void console_die(const char *what, int error);

#endif
