/* What the whole agent shares: how it runs, and its bounds. */
#ifndef POLYVISOR_AGENT_H
#define POLYVISOR_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#define AGENT_VERSION "0.1.0"
#define PROTOCOL_VERSION 1u

#define CHANNELS_MAX 8            /* virtio-serial ports or unix sockets */
#define VSOCK_CLIENTS_MAX 8       /* vsock connections served at once */
#define STREAMS_MAX 256           /* open streams of one session */
#define PROCESSES_MAX 1024        /* all processes, detached ones included */
#define OUTPUT_CREDIT 262144u     /* default credit of channels 1 and 2 */
#define INPUT_CREDIT 65536u       /* credit of channel 0 */

struct agent {
  bool init;        /* PID 1 of a guest; else host mode */
  bool ready;       /* modules and mounts are in place: requests are served */
  bool ending;      /* POWEROFF or a signal: nothing new is started */
  uint64_t reseeds; /* how often SYNC reseeded the generator */
};

extern struct agent agent;

#endif
