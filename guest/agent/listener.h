/* Listening sockets: vsock in a guest, unix sockets in host mode. */
#ifndef POLYVISOR_LISTENER_H
#define POLYVISOR_LISTENER_H

struct listener;

#define VSOCK_PORT 1024

/* Listens for the host (CID 2, nobody else) on vsock, if the kernel has it; does nothing when it listens already. */
void listen_vsock(void);

/* A bound unix socket of mode 0600, or -errno. */
int unix_socket(const char *path);

/* Listens on a unix socket of mode 0600, serving one client at a time. Returns 0 or -errno. */
int listen_unix(const char *path);

/* A client's channel is closed: the next one may come. */
void listener_freed(struct listener *l);

/* Stops listening, and removes the unix sockets. */
void listeners_close(void);

#endif
