/* Addresses of servers in the guest: `tcp:HOST:PORT` (an IPv4 address, an IPv6 address in brackets, or `localhost`) and
   `unix:/path`. No name but localhost is looked up. */
#ifndef POLYVISOR_ADDRESS_H
#define POLYVISOR_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_TEXT_MAX 128u

struct address {
  socklen_t length;
  union {
    struct sockaddr any;
    struct sockaddr_storage storage;
    struct sockaddr_un local;
  };
};

/* Reads an address. `localhost` gives two: the second one is to be tried when nobody answers at the first. Returns how
   many it gives; 0 when it is none, with why. */
int address_parse(const uint8_t *text, size_t length, struct address out[2], const char **why);

/* The address as text. `text` takes ADDRESS_TEXT_MAX bytes. */
void address_format(const struct address *a, char *text);

#endif
