/* Kernel modules, loaded in the order of a list. */
#ifndef POLYVISOR_MODULES_H
#define POLYVISOR_MODULES_H

#include <stdbool.h>

#define MODULES_LIST "/etc/polyvisor/modules"

/* Reads the list: a path a line, then perhaps a blank and parameters; lines that begin with # don't count.
   Without the file there is nothing to load. */
void modules_open(void);

/* Loads the next one. Returns false when there is none left. What can't be loaded is named on the console. */
bool modules_next(void);

#endif
