/* SYNC: entropy, clock, hostname and machine id from the host. */
#ifndef POLYVISOR_SYNC_H
#define POLYVISOR_SYNC_H

#include <stddef.h>
#include <stdint.h>

/* Serves the fields. Returns 0 or -errno, then perhaps with a description. In host mode only the count changes. */
int sync_serve(const uint8_t *payload, size_t length, const char **why);

#endif
