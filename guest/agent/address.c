#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct address of_ipv4(struct in_addr host, uint16_t port) {
  struct address a = {.length = sizeof(struct sockaddr_in)};
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = host, .sin_port = htons(port)};
  memcpy(&a.storage, &in, sizeof in);
  return a;
}

static struct address of_ipv6(struct in6_addr host, uint16_t port) {
  struct address a = {.length = sizeof(struct sockaddr_in6)};
  struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_addr = host, .sin6_port = htons(port)};
  memcpy(&a.storage, &in, sizeof in);
  return a;
}

static bool parse_port(const char *text, uint16_t *out) {
  char *end;
  if (text[0] < '0' || text[0] > '9') return false;
  unsigned long port = strtoul(text, &end, 10);
  if (*end || end - text > 5 || port > UINT16_MAX) return false;
  *out = (uint16_t)port;
  return true;
}

/* `HOST:PORT`, taken apart in place. */
static int parse_tcp(char *text, struct address out[2], const char **why) {
  uint16_t port;
  struct in_addr ipv4;
  struct in6_addr ipv6;
  char *colon = strrchr(text, ':');
  *why = "a TCP address is tcp:HOST:PORT";
  if (!colon || !parse_port(colon + 1, &port)) return 0;
  *colon = 0;
  if (strcmp(text, "localhost") == 0) {
    struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    out[0] = of_ipv4(loopback, port);
    out[1] = of_ipv6(in6addr_loopback, port);
    return 2;
  }
  size_t length = strlen(text);
  bool brackets = length > 2 && text[0] == '[' && text[length - 1] == ']';
  if (brackets) text[length - 1] = 0;
  *why = "a TCP address needs an IPv4 address, an IPv6 address in brackets, or localhost";
  if (brackets && inet_pton(AF_INET6, text + 1, &ipv6) == 1) out[0] = of_ipv6(ipv6, port);
  else if (inet_pton(AF_INET, text, &ipv4) == 1) out[0] = of_ipv4(ipv4, port);
  else return 0;
  return 1;
}

int address_parse(const uint8_t *data, size_t length, struct address out[2], const char **why) {
  char text[ADDRESS_TEXT_MAX];
  *why = "an address is tcp:HOST:PORT or unix:/path";
  if (length >= sizeof text || memchr(data, 0, length)) return 0;
  memcpy(text, data, length);
  text[length] = 0;
  if (strncmp(text, "tcp:", 4) == 0) return parse_tcp(text + 4, out, why);
  if (strncmp(text, "unix:/", 6) != 0) return 0;
  out[0] = (struct address){.length = sizeof out[0].local};
  *why = "the path of a unix socket is too long";
  if (length - 5 >= sizeof out[0].local.sun_path) return 0;
  out[0].local.sun_family = AF_UNIX;
  strcpy(out[0].local.sun_path, text + 5);
  return 1;
}

void address_format(const struct address *a, char *text) {
  char host[INET6_ADDRSTRLEN];
  if (a->any.sa_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, &a->storage, sizeof in);
    snprintf(text, ADDRESS_TEXT_MAX, "tcp:%s:%u", inet_ntop(AF_INET, &in.sin_addr, host, sizeof host), ntohs(in.sin_port));
  } else if (a->any.sa_family == AF_INET6) {
    struct sockaddr_in6 in;
    memcpy(&in, &a->storage, sizeof in);
    snprintf(text, ADDRESS_TEXT_MAX, "tcp:[%s]:%u", inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host),
             ntohs(in.sin6_port));
  } else {
    /* A client's socket seldom has a name. */
    bool named = a->length > offsetof(struct sockaddr_un, sun_path) && a->local.sun_path[0] == '/';
    snprintf(text, ADDRESS_TEXT_MAX, "unix:%.*s", named ? (int)sizeof a->local.sun_path : 0, a->local.sun_path);
  }
}
