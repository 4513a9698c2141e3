/* Kernel modules: those of a list, in its order, and drivers for devices as these turn up. */
#ifndef POLYVISOR_MODULES_H
#define POLYVISOR_MODULES_H

#include <stdbool.h>

/* What is loaded at boot: a path a line, then perhaps a blank and parameters; lines that begin with # don't count. */
#define MODULES_LIST "/etc/polyvisor/modules"
/* Names, one a line: drivers that nobody waits for, so that they wait. */
#define MODULES_LATER "/etc/polyvisor/modules.late"

/* Reads the lists, and modules.dep and modules.alias of this kernel. Without them there is nothing to load. They stay at
   hand when the root changes. */
void modules_open(void);

/* Loads the next one of the list. Returns false when there is none left. What can't be loaded is named on the console. */
bool modules_next(void);

/* Loads what drives a device of this modalias, with what that needs, unless it is loaded, or can wait. */
void modules_drive(const char *modalias);

/* Calls `each`, which may be NULL, with the aliases that begin so, such as "virtio", of modules that aren't loaded. Returns
   whether there is one. */
bool modules_each_alias(const char *prefix, void (*each)(const char *alias));

/* From now on nothing waits: loads what has waited. */
void modules_load_late(void);

#endif
