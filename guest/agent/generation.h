/* The machine's generation id, by which QEMU tells a guest that it goes on in another VM. */
#ifndef POLYVISOR_GENERATION_H
#define POLYVISOR_GENERATION_H

/* Where the kernel has no driver for it, its event is switched off: each clone would begin by running ACPI's interpreter, to tell
   nobody. */
void generation_event(void);

#endif
