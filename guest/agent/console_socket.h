/* Host mode's console: a pseudo-terminal in place of a serial port, for one client of a unix socket at a time. */
#ifndef POLYVISOR_CONSOLE_SOCKET_H
#define POLYVISOR_CONSOLE_SOCKET_H

/* Serves the socket, of mode 0600. What is printed also goes to stdout, the console's log. Returns 0 or -errno. */
int console_socket_open(const char *path);

/* Stops serving, and removes the socket. */
void console_socket_close(void);

#endif
