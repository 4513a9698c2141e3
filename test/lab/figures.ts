import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import type { BlockDevice, Device } from '../../src/hypervisors/device.ts';
import type { HypervisorModule } from '../../src/hypervisors/hypervisor.ts';
import { type LabMachine, labMachine } from './machine.ts';

/*
 * What a VMM limits and counts, told by what the guest gets and the host sees.
 */

const mib = 2 ** 20;

/** A VM that runs while something is done with it. @param cold devices that it starts with */
export type WithVm = (
  change: VmConfigInput,
  cold: readonly Device[],
  use: (vm: LabMachine) => Promise<void>,
) => Promise<void>;

/** Starts one for a test, confined as root has it by default. */
export async function withStarted(
  module: HypervisorModule,
  change: VmConfigInput,
  cold: readonly Device[],
  use: (vm: LabMachine) => Promise<void>,
  confinement: 'strict' | 'off' = 'strict',
): Promise<void> {
  const vm = await labMachine(module, change, confinement);
  try {
    await vm.hypervisor.create();
    for (const device of cold) await vm.hypervisor.addDevice(device);
    await vm.hypervisor.start();
    await use(vm);
  } catch (error) {
    // Why it ended, if it did: nobody can look afterwards.
    const { log, console } = await vm.hypervisor.lastWords();
    const pids = await vm.hypervisor.pids();
    throw new Error(`pids [${pids.join()}], last words of VMM and guest:\n${log}\n${console}`, { cause: error });
  } finally {
    await vm.discard();
  }
}

/** That memory which a guest has freed goes back to the host. */
export function itGivesMemoryBack(withVm: WithVm): void {
  it('a balloon gives the host what the guest has freed', () =>
    withVm({ reclaimGuestFreedMemory: true }, [], async ({ hypervisor, shell }) => {
      const resident = async (): Promise<number> => (await hypervisor.statistics()).residentBytes;
      await shell('dd if=/dev/urandom of=/tmp/filled bs=1M count=96 2>/dev/null');
      const filled = await resident();
      await shell('rm /tmp/filled');
      // The guest reports what it has freed in its own time: every two seconds.
      while ((await resident()) > filled - 64 * mib) await sleep(100);
      expect((await hypervisor.statistics()).guestMemoryBytes).toBe(256 * mib);
    }));
}

/** That a disk with a limit is slower than one without, and what passed is counted. */
export function itLimitsDisks(withVm: WithVm): void {
  it('a disk is as slow as its limit says, both ways; one that is plugged, too', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-lab-'));
    const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
      const file = path.join(folder, id);
      writeFileSync(file, Buffer.alloc(4 * mib, id));
      chmodSync(file, 0o666);
      return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
    };
    const rateLimit = { bytesPerSecond: mib / 4 };
    const cold = [disk('free'), disk('slow', { rateLimit }), disk('ring', { aio: 'io_uring' })];
    try {
      await withVm({}, cold, async ({ hypervisor, shell }) => {
        const seconds = async (script: string): Promise<number> => {
          const began = performance.now();
          await shell(script);
          return (performance.now() - began) / 1000;
        };
        const read = (name: string): string => `head -c ${1.5 * mib} /dev/${name} >/dev/null`;
        const write = (name: string): string =>
          `dd if=/dev/zero of=/dev/${name} bs=64k count=20 conv=notrunc,fsync 2>/dev/null`;
        // A request that is larger than the bucket is let through at once, and paid for by those after it.
        await shell('for disk in /sys/block/vd*; do echo 64 >$disk/queue/max_sectors_kb; done');
        // A second's worth passes at once. How long it takes without a limit is the host's affair.
        for (const [work, least] of [
          [read, 4.8],
          [write, 3.8],
        ] as const) {
          const free = await seconds(work('vda'));
          const slow = await seconds(work('vdb'));
          expect(slow).toBeGreaterThan(least);
          expect(slow).toBeGreaterThan(free);
        }
        await hypervisor.hotplugAddDevice(disk('later', { rateLimit }));
        await shell('until [ "$(cat /sys/block/vdd/size)" -gt 0 ]; do sleep 0.1; done');
        await shell('echo 64 >/sys/block/vdd/queue/max_sectors_kb');
        expect(await seconds(read('vdd'))).toBeGreaterThan(4.8);
        await shell(`${read('vdc')}; ${write('vdc')}`);
        expect(readFileSync(path.join(folder, 'ring')).subarray(0, 4)).toEqual(Buffer.alloc(4));
        const { disks = [] } = await hypervisor.statistics();
        expect(disks.map(({ id }) => id)).toEqual(['free', 'slow', 'ring', 'later']);
        for (const { id, readBytes, writtenBytes } of disks) {
          expect(readBytes, id).toBeGreaterThanOrEqual(1.5 * mib);
          expect(writtenBytes, id).toBe(id === 'later' ? 0 : 1.25 * mib);
        }
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
