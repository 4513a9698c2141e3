import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Support } from '../../src/hypervisors/capabilities.ts';
import type { BlockDevice, Device } from '../../src/hypervisors/device.ts';
import type { Hypervisor, HypervisorModule } from '../../src/hypervisors/hypervisor.ts';

/** What the suite lends to tests of devices. */
export interface DeviceTests {
  /** a VM that runs */
  running(): Hypervisor;
  withMachine(use: (machine: { hypervisor: Hypervisor }) => Promise<void>): Promise<void>;
  codeOf(promise: Promise<unknown>): Promise<string>;
}

/** Devices, told by what is refused afterwards: one that is plugged can't be plugged again, one that is not can't be unplugged. */
export function itPlugs({ capabilities }: HypervisorModule, { running, withMachine, codeOf }: DeviceTests): void {
  const { start, hotAdd, hotRemove } = capabilities.devices.block;
  /** A test of what the VMM offers; what it doesn't offer it refuses, which is tested elsewhere. */
  const given = (...supports: Support[]): ((what: string, test: () => Promise<void>) => void) =>
    supports.every((support) => support === true) ? it : (): void => undefined;
  const withDisk = async (use: (disk: BlockDevice) => Promise<void>): Promise<void> => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-contract-'));
    try {
      const file = path.join(folder, 'disk.img');
      writeFileSync(file, Buffer.alloc(2 ** 20));
      // A VMM may run under a uid of its own.
      chmodSync(file, 0o666);
      await use({ kind: 'block', id: 'contract-disk', path: file, format: 'raw', readOnly: false });
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

  given(start)('takes a disk before its start, once [addDevice]', () =>
    withDisk((disk) =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        await hypervisor.addDevice(disk);
        expect(await codeOf(hypervisor.addDevice(disk))).toBe('INVALID_ARGUMENT');
      }),
    ),
  );

  const serial = capabilities.devices['serial-port'];
  given(serial.hotAdd, serial.hotRemove)('takes a serial port while it runs, once, and gives it back', async () => {
    const hypervisor = running();
    const port: Device = { kind: 'serial-port', id: 'contract-port', name: 'contract.port' };
    expect(await codeOf(hypervisor.hotplugAddDevice({ ...port, name: 'agent.channel.0' }))).toBe('INVALID_ARGUMENT');
    for (let round = 0; round < 2; round++) {
      await hypervisor.hotplugAddDevice(port);
      expect(await codeOf(hypervisor.hotplugAddDevice(port))).toBe('INVALID_ARGUMENT');
      await hypervisor.hotplugRemoveDevice(port);
    }
    expect(await codeOf(hypervisor.hotplugRemoveDevice(port))).toBe('INVALID_ARGUMENT');
  });

  given(hotAdd)('refuses what no guest could be given, by a code that says what is wrong', () =>
    withDisk(async (disk) => {
      const hypervisor = running();
      const wrong: [code: string, device: Device][] = [
        ['FILE_NOT_FOUND', { ...disk, path: `${disk.path}.none` }],
        ['INVALID_ARGUMENT', { ...disk, id: 'no id/' }],
        ['INVALID_ARGUMENT', { ...disk, path: 'relative' }],
        ['INVALID_ARGUMENT', { ...disk, serial: 'x'.repeat(21) }],
        // Where the VMM has the format at all.
        ['FILE_INVALID or UNSUPPORTED', { ...disk, format: 'qcow2' }],
        ['FILE_INVALID', { ...disk, path: path.dirname(disk.path) }],
      ];
      for (const [codes, device] of wrong)
        expect(codes.split(' or '), JSON.stringify(device)).toContain(
          await codeOf(hypervisor.hotplugAddDevice(device)),
        );
      // None of them has left anything that stands in the way. What can't be taken out again would stay.
      if (hotRemove !== true) return;
      await hypervisor.hotplugAddDevice(disk);
      await hypervisor.hotplugRemoveDevice(disk);
    }),
  );

  given(hotAdd, hotRemove)(
    'takes a disk while it runs, once, and gives it back [hotplugAddDevice] [hotplugRemoveDevice]',
    () =>
      withDisk(async (disk) => {
        const hypervisor = running();
        expect(await codeOf(hypervisor.hotplugRemoveDevice(disk))).toBe('INVALID_ARGUMENT');
        for (let round = 0; round < 2; round++) {
          await hypervisor.hotplugAddDevice(disk);
          expect(await codeOf(hypervisor.hotplugAddDevice(disk))).toBe('INVALID_ARGUMENT');
          await hypervisor.hotplugRemoveDevice(disk);
        }
      }),
  );
}
