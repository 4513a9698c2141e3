#ifndef POLYVISOR_MAC_H
#define POLYVISOR_MAC_H

#include <stdint.h>

#define MAC_BYTES 6

/* Gives every network card another address: the one that it has, with these bits turned. What is up goes down for that, and up again. Returns 0
   or a negative errno. */
int mac_turn(const uint8_t mask[MAC_BYTES]);

#endif
