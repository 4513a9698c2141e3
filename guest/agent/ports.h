/* Virtio-serial ports named agent.channel.0 to .7: opened when they appear. */
#ifndef POLYVISOR_PORTS_H
#define POLYVISOR_PORTS_H

/* Opens the ports that are there and not open yet. */
void ports_scan(void);

#endif
