/* Channels: byte streams a host speaks over, each with a session of its own. */
#ifndef POLYVISOR_CHANNEL_H
#define POLYVISOR_CHANNEL_H

#include "loop.h"
#include "session.h"

#include <stdbool.h>

struct listener;

struct channel {
  struct channel *next;
  struct watch watch;
  struct session session;
  struct listener *listener; /* whose connection this is; NULL: a port, which outlives its hosts */
  bool readable, writable, hung_up;
  struct deadline verify; /* a port: look again whether its host is really gone */
};

/* Serves a descriptor that doesn't block. Returns the channel, or NULL (the descriptor is closed). */
struct channel *channel_open(int fd, struct listener *listener);

/* Moves everything that can be moved on all channels, within reason. Returns whether something is left to do. */
bool channels_pump(void);

/* All sessions are to be looked at again. */
void channels_wake(void);

void channels_event(const char *event);
bool channels_flushed(void);
void channels_close(void);

#endif
