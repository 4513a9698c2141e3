#include "info.h"

#include "agent.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A line of /proc/meminfo, in bytes; 0 when it isn't there. */
static uint64_t meminfo(const char *name) {
  FILE *file = fopen("/proc/meminfo", "re");
  char line[128];
  uint64_t bytes = 0;
  if (!file) return 0;
  while (fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0) {
      bytes = strtoull(line + strlen(name), NULL, 10) * 1024;
      break;
    }
  fclose(file);
  return bytes;
}

void info_fill(struct field_writer *w) {
  struct timespec up;
  clock_gettime(CLOCK_BOOTTIME, &up);
  fields_put_integer(w, FIELD_UPTIME_MS, (uint64_t)up.tv_sec * 1000 + (uint64_t)up.tv_nsec / 1000000);
  fields_put_integer(w, FIELD_MEMORY_TOTAL, meminfo("MemTotal:"));
  fields_put_integer(w, FIELD_MEMORY_AVAILABLE, meminfo("MemAvailable:"));
  fields_put_integer(w, FIELD_CPUS_ONLINE, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
  fields_put_integer(w, FIELD_RESEEDS, agent.reseeds);
  fields_put_integer(w, FIELD_PROCESSES, process_count());
}
