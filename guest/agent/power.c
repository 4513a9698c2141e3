#define _GNU_SOURCE
#include "power.h"

#include "agent.h"
#include "channel.h"
#include "console.h"
#include "console_shell.h"
#include "loop.h"
#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#define GRACE_MS 1000 /* between SIGTERM and the end, for detached processes; the others end at once */
#define FORCE_MS 2000 /* at most, for what can't be killed and for hosts that don't read */

static enum power_mode asked;
static struct deadline grace, limit;
static bool time_is_up;

static void force(struct deadline *d) {
  (void)d;
  processes_end_all(true);
}

static void give_up(struct deadline *d) {
  (void)d;
  time_is_up = true;
}

void power_down(enum power_mode mode) {
  if (agent.ending) return;
  agent.ending = true;
  asked = mode;
  channels_event("shutdown");
  processes_end_all(false);
  console_shell_end();
  deadline_set(&grace, GRACE_MS, force);
  deadline_set(&limit, GRACE_MS + FORCE_MS, give_up);
}

bool power_finished(void) { return agent.ending && (time_is_up || (!processes_any() && !console_shell_runs() && channels_flushed())); }

void power_act(void) {
  static const int how[] = {[POWER_OFF] = RB_POWER_OFF, [POWER_REBOOT] = RB_AUTOBOOT, [POWER_HALT] = RB_HALT_SYSTEM};
  channels_close();
  if (!agent.init) return;
  sync();
  /* A VMM that can't be powered off ends when its guest is reset. The kernel makes what it doesn't know on its command line our environment. */
  const char *poweroff = getenv("polyvisor_poweroff");
  if (asked == POWER_OFF && poweroff && strcmp(poweroff, "reset") == 0) asked = POWER_REBOOT;
  if (reboot(how[asked]) < 0) console_line("can't go down: %s", strerror(errno));
}
