import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Support } from '../../src/hypervisors/capabilities.ts';
import type { BlockDevice } from '../../src/hypervisors/device.ts';
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

  given(start)('takes a disk before its start, once', () =>
    withDisk((disk) =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        await hypervisor.addDevice(disk);
        expect(await codeOf(hypervisor.addDevice(disk))).toBe('INVALID_ARGUMENT');
      }),
    ),
  );

  given(hotAdd, hotRemove)('takes a disk while it runs, once, and gives it back', () =>
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
