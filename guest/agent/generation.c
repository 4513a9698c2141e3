#include "generation.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

/* QEMU's device, and the event of its ACPI tables that is meant for it (docs/specs/vmgenid.rst). */
#define DEVICE "/sys/bus/acpi/devices/QEMUVGID:00"
#define EVENT "/sys/firmware/acpi/interrupts/gpe05"

/* Of Linux since 5.18, and as it is called since it serves other buses as well. */
static const char *const drivers[] = {"/sys/bus/acpi/drivers/vmgenid", "/sys/bus/platform/drivers/vmgenid"};

void generation_event(void) {
  if (access(DEVICE, F_OK) < 0) return;
  for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++)
    if (access(drivers[i], F_OK) == 0) return;
  int fd = open(EVENT, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, "disable\n", 8);
  close(fd);
}
