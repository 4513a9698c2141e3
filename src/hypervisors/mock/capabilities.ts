import { type Capabilities, operations, type Support } from '../capabilities.ts';
import { deviceKinds } from '../device.ts';

/** What the mock can do: what a VMM could, without a virtual machine. */
export const capabilities: Capabilities = {
  operations: Object.fromEntries(
    operations.map((operation): [string, Support] => [operation, true]),
  ) as Capabilities['operations'],
  devices: Object.fromEntries(
    deviceKinds.map((kind) => [kind, { start: true, hotAdd: true, hotRemove: true }]),
  ) as Capabilities['devices'],
  agent: true,
  sharedMemory: 'its guest is the host',
  isolation: 'its guest is the host itself: commands run there as the calling user, with nothing between',
};
