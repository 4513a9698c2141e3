/* What the agent says of itself in HELLO. */
#ifndef POLYVISOR_IDENTITY_H
#define POLYVISOR_IDENTITY_H

const char *identity_features(void);

/* The kernel's boot id; in host mode one of this run of the agent. */
const char *identity_boot_id(void);

#endif
