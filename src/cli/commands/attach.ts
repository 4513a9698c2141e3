import path from 'node:path';
import { type Command, Option } from 'commander';
import type { AttachResult } from '../../sandbox/attach-device.ts';
import type { DeviceSpec, DiskSpec } from '../../sandbox/device-spec.ts';
import { parseDisk, parseFolder } from '../../sandbox/device-text.ts';
import { newCommand } from '../command.ts';
import { orUsageError } from '../device-flags.ts';
import { interruptible } from '../interrupts.ts';
import { tellNotice } from '../notices.ts';
import { byteCount, timeMs, wholeNumber } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface AttachFlags {
  id?: string;
  timeout?: number;
  json?: boolean;
}

interface DiskFlags extends AttachFlags {
  driver?: DiskSpec['driver'];
  serial?: string;
  direct?: boolean;
  aio?: DiskSpec['aio'];
  ioThread?: boolean;
  bps?: number;
  iops?: number;
}

interface NetFlags extends AttachFlags {
  tap?: string;
  macvtap?: string;
  mac?: string;
  queues?: number;
}

/** `polyvisor attach` */
export function attach(): Command {
  const command = newCommand('attach', 'Gives a running VM a device; prints its id, and where the guest finds it.', [
    'attach disk web data.qcow2:qcow2',
    'attach folder web ./src:/src:ro',
    'attach net web --tap tap0',
  ]);
  for (const kind of [disk, net, folder, serial, vsock, vfio, vhostUser]) command.addCommand(kind());
  return command;
}

function disk(): Command {
  const command = device('disk', 'Gives a running VM a disk: a file or a block device of this host.', 'attach a disk', [
    'attach disk web data.img',
    'attach disk web base.qcow2:qcow2:ro --serial base',
  ]).argument('<file>', 'FILE[:qcow2][:ro]; raw and writable by default', (text) =>
    orUsageError(() => parseDisk(text)),
  );
  return command
    .addOption(
      new Option('--driver <driver>', 'how it reaches the guest').choices(['virtio-blk', 'virtio-scsi', 'nvdimm']),
    )
    .option('--serial <text>', 'what the guest reads as its serial number, at most 20 characters')
    .option('--direct', "past the host's page cache")
    .addOption(new Option('--aio <way>', 'how it is read and written').choices(['threads', 'native', 'io_uring']))
    .option('--io-thread', 'served by a thread of its own')
    .addOption(new Option('--bps <size>', 'bytes a second, read and written, such as 50M').argParser(byteCount))
    .addOption(new Option('--iops <number>', 'reads and writes a second').argParser(wholeNumber))
    .action(
      (name: string, spec: DiskSpec, { serial: text, direct, bps, iops, driver, aio, ioThread, ...flags }: DiskFlags) =>
        plug(name, flags, {
          ...spec,
          driver,
          serial: text,
          aio,
          ioThread,
          cache: direct === true ? { direct } : undefined,
          rateLimit:
            bps === undefined && iops === undefined ? undefined : { bytesPerSecond: bps, operationsPerSecond: iops },
        }),
    );
}

function net(): Command {
  return device('net', 'Gives a running VM a network card; in user mode, with its address.', 'attach a network', [
    'attach net web',
    'attach net web --tap tap0 --mac 02:00:00:00:00:01',
  ])
    .option('--tap <name>', 'a tap device of this host (default: the user-mode network of the VMM)')
    .addOption(new Option('--macvtap <name>', 'a macvtap device of this host, whose address it has').conflicts('tap'))
    .option('--mac <address>', 'its address (default: one is made up)')
    .addOption(new Option('--queues <number>', 'pairs of queues, 1 to 16 (default: 1)').argParser(wholeNumber))
    .action((name: string, { tap, macvtap, mac, queues, ...flags }: NetFlags) =>
      plug(name, flags, {
        kind: 'net',
        tap: macvtap ?? tap,
        tapType: macvtap === undefined ? undefined : 'macvtap',
        mac,
        queues,
      }),
    );
}

function folder(): Command {
  return device('folder', 'Shares a folder of this host with a running VM, and mounts it there.', 'share a folder', [
    'attach folder web ./src:/src',
    'attach folder web /etc:/mnt/etc:ro',
  ])
    .argument('<folder>', 'HOST:GUEST[:ro]', (text) => orUsageError(() => parseFolder(text)))
    .action((name: string, spec: DeviceSpec, flags: AttachFlags) => plug(name, flags, spec));
}

function serial(): Command {
  return device('serial', 'Gives a running VM a port on its virtio-serial bus.', 'attach a serial port', [
    'attach serial web org.example.port',
  ])
    .argument('<port>', 'what the guest reads as its name')
    .action((name: string, port: string, flags: AttachFlags) => plug(name, flags, { kind: 'serial-port', name: port }));
}

function vsock(): Command {
  return device('vsock', "Gives a running VM a vsock through this host's vhost-vsock.", 'attach a vsock', [
    'attach vsock web --context-id 42',
  ])
    .addOption(new Option('--context-id <number>', 'from 3 on (default: one is made up)').argParser(wholeNumber))
    .action((name: string, { contextId, ...flags }: AttachFlags & { contextId?: number }) =>
      plug(name, flags, { kind: 'vsock', contextId }),
    );
}

function vfio(): Command {
  return device('vfio', 'Hands a device of this host through to a running VM.', 'hand a device of this host through', [
    'attach vfio web 0000:03:00.0',
  ])
    .argument('<address>', 'PCI address of a device that is bound to vfio-pci, or the folder of a mediated one in /sys')
    .action((name: string, address: string, flags: AttachFlags) => plug(name, flags, { kind: 'vfio', address }));
}

function vhostUser(): Command {
  return device(
    'vhost-user',
    'Gives a running VM a device that another process serves; its memory must be shared.',
    'attach a device of another process',
    ['attach vhost-user web blk /run/store/disk.sock'],
  )
    .argument('<type>', 'blk, scsi, net or fs')
    .argument('<socket>', 'unix socket on which that process listens')
    .option('--tag <tag>', 'of fs: what the guest mounts')
    .action(
      (
        name: string,
        type: 'blk' | 'scsi' | 'net' | 'fs',
        socket: string,
        { tag, ...flags }: AttachFlags & { tag?: string },
      ) => plug(name, flags, { kind: 'vhost-user', type, socket: path.resolve(socket), tag }),
    );
}

/** What all of them have. */
function device(kind: string, description: string, summary: string, examples: readonly string[]): Command {
  return newCommand(kind, description, [...examples])
    .summary(summary)
    .argument('<name>', 'name of the VM')
    .option('--id <id>', 'what it is called from then on (default: one is made up)')
    .addOption(new Option('--timeout <time>', 'most time for it (default: 60s)').argParser(timeMs))
    .option('--json', 'print where it is as JSON');
}

async function plug(name: string, { id, timeout, json }: AttachFlags, spec: DeviceSpec): Promise<void> {
  const { Vm } = await import('../../sandbox/vm.ts');
  const { id: _ofSpec, ...rest } = spec;
  // What was not given is left out: drivers tell a field that is set from one that is not.
  const given = Object.entries({ ...rest, id }).filter(([, value]) => value !== undefined);
  await interruptible(async ({ signal }) => {
    const vm = await Vm.connect(name, { signal });
    try {
      const done = await vm.attachDevice(Object.fromEntries(given) as unknown as DeviceSpec, {
        signal,
        timeoutMs: timeout,
      });
      if (done.copied !== undefined && done.mountAt !== undefined)
        tellNotice(name)(`${vm.hypervisor} shares no folders: ${done.mountAt} is a copy`);
      if (json === true) printJson(done);
      else print([done.id, ...whereabouts(done)].join('\t'));
    } finally {
      await vm.close();
    }
  });
}

function whereabouts({ mountAt, guestPath, socket }: AttachResult): string[] {
  return [mountAt ?? guestPath ?? socket].filter((word) => word !== undefined);
}
