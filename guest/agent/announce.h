/* Tells a waiting host that this guest answers: a connection to the host's vsock port ANNOUNCE_PORT, closed at once. */
#ifndef POLYVISOR_ANNOUNCE_H
#define POLYVISOR_ANNOUNCE_H

#define ANNOUNCE_PORT 1025

/* Does nothing when nobody waits: a host that comes later just connects. */
void announce(void);

#endif
