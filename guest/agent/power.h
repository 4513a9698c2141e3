/* The end of the machine (PID 1) or of the agent (host mode). */
#ifndef POLYVISOR_POWER_H
#define POLYVISOR_POWER_H

#include <stdbool.h>

enum power_mode { POWER_OFF, POWER_REBOOT, POWER_HALT };

/* Starts going down: tells the hosts, ends all processes; power_finished ends it all once they are gone. */
void power_down(enum power_mode mode);

/* Whether everything has ended, or the time for it is up. */
bool power_finished(void);

/* Powers off, reboots or halts; in host mode exits with 0. */
void power_act(void);

#endif
