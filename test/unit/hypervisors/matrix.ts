import type { HypervisorType } from '../../../src/config/hypervisor-type.ts';
import type { Capabilities, Support } from '../../../src/hypervisors/capabilities.ts';

/** W: works. V: works where the VMM's version offers it. U: may be unsupported. */
export type Cell = 'W' | 'V' | 'U';

/** A line of the matrix: what must work where, and which capability says whether it does. */
export interface Line {
  what: string;
  cells: Readonly<Record<HypervisorType, Cell>>;
  support(of: Capabilities): Support;
}

const cells = (text: string): Record<HypervisorType, Cell> => {
  const [qemu, firecracker, clh, acrn, mock] = text.split(' ') as [Cell, Cell, Cell, Cell, Cell];
  return { qemu, firecracker, clh, acrn, mock };
};
const operation = (name: keyof Capabilities['operations'], text: string): Line => ({
  what: name,
  cells: cells(text),
  support: ({ operations }) => operations[name],
});
const device = (kind: keyof Capabilities['devices'], when: 'start' | 'hotAdd' | 'hotRemove', text: string): Line => ({
  what: `${kind} ${when}`,
  cells: cells(text),
  support: ({ devices }) => devices[kind][when],
});

/** What must work where, in the order qemu, firecracker, clh, acrn, mock. Any other "unsupported" is a failure. */
export const matrix: readonly Line[] = [
  ...(
    [
      'create',
      'start',
      'stop',
      'check',
      'pids',
      'cleanup',
      'capabilities',
      'config',
      'generateSocket',
      'saveState',
      'loadState',
      'disconnect',
      'toGrpc',
      'fromGrpc',
    ] as const
  ).map((name) => operation(name, 'W W W W W')),
  { what: 'agent', cells: cells('W W W W W'), support: ({ agent }) => agent },
  operation('console', 'W U W W W'),
  operation('threadIds', 'W W W U W'),
  operation('pause', 'W W W U W'),
  operation('resume', 'W W W U W'),
  operation('save', 'W W W U W'),
  operation('restore', 'W W W U W'),
  operation('dumpMemory', 'W U V U W'),
  operation('resizeVcpus', 'W U W U W'),
  device('cpu', 'hotAdd', 'W U W U W'),
  device('cpu', 'hotRemove', 'W U W U W'),
  operation('resizeMemory', 'W V W U W'),
  device('memory', 'hotAdd', 'W V W U W'),
  operation('addDevice', 'W W W W W'),
  operation('hotplugAddDevice', 'W W W W W'),
  operation('hotplugRemoveDevice', 'W W W U W'),
  device('block', 'start', 'W W W W W'),
  device('block', 'hotAdd', 'W W W W W'),
  device('block', 'hotRemove', 'W W W U W'),
  device('net', 'start', 'W W W W W'),
  device('net', 'hotAdd', 'W V W U W'),
  device('fs', 'start', 'W U W U W'),
  device('vsock', 'start', 'W U U W U'),
  device('hybrid-vsock', 'start', 'U W W U W'),
  device('serial-port', 'start', 'W U U W W'),
  device('vfio', 'start', 'W U W U W'),
  device('vhost-user', 'start', 'W W W U W'),
];
