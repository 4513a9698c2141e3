import type { Device } from '../device.ts';

/** What the mock's machine is made of; it keeps this on disk, as a VMM keeps it in its memory. */
export interface MockMachine {
  schema: 1;
  vcpus: number;
  memoryMiB: number;
  paused: boolean;
  devices: Device[];
}
