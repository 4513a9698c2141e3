import { VmError } from '../errors.ts';
import type { DeviceKind } from './device.ts';

/** The operations of the hypervisor interface, in virtcontainers' order and vocabulary. */
export const operations = [
  'create',
  'start',
  'stop',
  'pause',
  'resume',
  'save',
  'restore',
  'dumpMemory',
  'addDevice',
  'hotplugAddDevice',
  'hotplugRemoveDevice',
  'resizeMemory',
  'resizeVcpus',
  'console',
  'disconnect',
  'capabilities',
  'config',
  'threadIds',
  'cleanup',
  'pids',
  'toGrpc',
  'fromGrpc',
  'check',
  'saveState',
  'loadState',
  'generateSocket',
] as const;

/** An operation of the hypervisor interface. */
export type Operation = (typeof operations)[number];

/** `true`, or why not, as a sentence without its subject: "the VMM ...". */
export type Support = true | string;

/** What one VMM can do, as data: known before anything is tried. */
export interface Capabilities {
  readonly operations: Readonly<Record<Operation, Support>>;
  /** device kinds at start, hot added and hot removed */
  readonly devices: Readonly<Record<DeviceKind, { start: Support; hotAdd: Support; hotRemove: Support }>>;
  /** commands, files and forwarding by the guest agent */
  readonly agent: Support;
  /** clones of a template share its memory, copy-on-write; each has a copy of its own otherwise */
  readonly sharedMemory: Support;
  /** the guest is separated from the host by a virtual machine */
  readonly isolation: Support;
}

/**
 * Refuses what a VMM cannot do.
 * @throws {VmError} UNSUPPORTED naming operation, VMM and reason
 */
export function requireSupport(hypervisor: string, operation: string, support: Support): void {
  if (support === true) return;
  throw new VmError('UNSUPPORTED', `${operation} is not supported on ${hypervisor}: ${support}`, {
    operation,
    hypervisor,
  });
}
