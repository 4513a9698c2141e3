import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { refuseAfterTcgUnplug } from '../../../../src/hypervisors/qemu/control-cpus.ts';
import { dumpToFile } from '../../../../src/hypervisors/qemu/control-dump.ts';
import { resizeMemory } from '../../../../src/hypervisors/qemu/control-memory.ts';
import { migrateToFile } from '../../../../src/hypervisors/qemu/control-migration.ts';
import { plugSize, unplugSize } from '../../../../src/hypervisors/qemu/control-size.ts';
import { qemu } from '../../../../src/hypervisors/qemu/index.ts';
import { requireComplete } from '../../../../src/hypervisors/qemu/state-complete.ts';
import { vmmFiles } from '../../../../src/state/paths.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { fakeMonitor, type FakeMonitor, type QmpAnswer } from '../../../fakes/qmp-monitor.ts';
import { contextFor } from '../fixture.ts';

let folder: string;
let monitor: FakeMonitor | undefined;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-size-'));
  writeFileSync(vmmFiles.eventsOut(folder), '');
});
afterEach(async () => {
  await monitor?.qmp.close();
  monitor = undefined;
  rmSync(folder, { recursive: true, force: true });
});

const mib = 2 ** 20;
const module = (slot: number, sizeMiB: number): object => ({
  type: 'dimm',
  data: { slot, size: sizeMiB * mib, addr: slot * mib },
});
const commands = (): string[] => monitor?.asked.map(({ execute }) => execute) ?? [];

/** A QEMU with 256 MiB, and a module of 128 in slot 0. */
async function machine(answers: Readonly<Record<string, QmpAnswer>>): Promise<FakeMonitor['qmp']> {
  const known: Record<string, QmpAnswer> = {
    'query-memory-devices': { value: [module(0, 128)] },
    'query-memory-size-summary': { value: { 'base-memory': 256 * mib, 'plugged-memory': 128 * mib } },
    ...answers,
  };
  monitor = await fakeMonitor((command) => known[command]);
  return monitor.qmp;
}
const facts = () => contextFor(qemu, { memoryMiB: 256, memorySlots: 2 }, { runtimeFolder: folder });
const dimm = '/machine/peripheral/dimm0';

describe('a memory module', () => {
  it.each([
    ['DEVICE_UNPLUG_GUEST_ERROR', { path: dimm, device: 'dimm0' }],
    ['ACPI_DEVICE_OST', { info: { device: 'dimm0', 'slot-type': 'DIMM', slot: '0', source: 3, status: 1 } }],
  ])('that the guest keeps is a GUEST_REFUSED, and is left alone (%s)', async (event, data) => {
    const qmp = await machine({ device_del: { events: [{ event, data }] } });
    const error = await failure(resizeMemory(qmp, 256, 128, facts(), {}));
    expect(error).toMatchObject({
      code: 'GUEST_REFUSED',
      rawMessage: 'the guest keeps the memory module of 128 MiB in slot 0',
    });
    expect(commands()).not.toContain('object-del');
  });

  it('that the guest never answers about is waited for as long as the caller says', async () => {
    const pending = { event: 'ACPI_DEVICE_OST', data: { info: { device: 'dimm0', source: 3, status: 0x84 } } };
    const qmp = await machine({ device_del: { events: [pending] } });
    const ending = AbortSignal.timeout(50);
    expect(await codeOf(resizeMemory(qmp, 256, 128, facts(), { signal: ending }))).toBe('ABORTED');
    expect(commands()).not.toContain('object-del');
  });

  it('that QEMU refuses leaves nothing of itself', async () => {
    const qmp = await machine({ device_add: { error: 'a used vhost backend has no free memory slots left' } });
    const error = await failure(resizeMemory(qmp, 512, 128, facts(), {}));
    expect(error).toMatchObject({ code: 'VMM_FAILED', rawMessage: expect.stringContaining('no free memory slots') });
    expect(monitor?.asked.at(-1)).toEqual({ execute: 'object-del', arguments: { id: 'dimm1-memory' } });
  });

  it('is plugged into the slot that is asked for, if it is free', async () => {
    const seen = { event: 'ACPI_DEVICE_OST', data: { info: { device: 'dimm1', source: 1, status: 0 } } };
    const qmp = await machine({ device_add: { events: [seen] } });
    for (const slot of [0, 2, -1, 0.5])
      expect(await codeOf(plugSize(qmp, { kind: 'memory', sizeMiB: 128, slot }, facts(), {}))).toBe('INVALID_ARGUMENT');
    expect(commands()).not.toContain('object-add');
    await plugSize(qmp, { kind: 'memory', sizeMiB: 128, slot: 1 }, facts(), {});
    expect(monitor?.asked.at(-1)).toMatchObject({ execute: 'device_add', arguments: { id: 'dimm1', slot: 1 } });
  });

  it('that is not there can not be taken away', async () => {
    const qmp = await machine({});
    for (const wrong of [{ sizeMiB: 64 }, { sizeMiB: 128, slot: 1 }])
      expect(await codeOf(unplugSize(qmp, { kind: 'memory', ...wrong }, facts(), {}))).toBe('INVALID_ARGUMENT');
    expect(commands()).not.toContain('device_del');
  });
});

describe('under TCG, after a vCPU was unplugged', () => {
  const lapic = { event: 'DEVICE_DELETED', data: { path: '/machine/peripheral/cpu-1/lapic' } };
  beforeEach(() => writeFileSync(vmmFiles.eventsOut(folder), `${JSON.stringify(lapic)}\n`));

  it('nothing is plugged, and nothing of it is begun', async () => {
    const qmp = await machine({ 'query-hotpluggable-cpus': { value: [{ type: 'cpu', props: {} }] } });
    expect(await codeOf(plugSize(qmp, { kind: 'memory', sizeMiB: 128 }, facts(), {}))).toBe('UNSUPPORTED');
    expect(await codeOf(plugSize(qmp, { kind: 'cpu', count: 1 }, facts(), {}))).toBe('UNSUPPORTED');
    expect(await codeOf(resizeMemory(qmp, 512, 128, facts(), {}))).toBe('UNSUPPORTED');
    expect(commands().filter((command) => /add|del/.test(command))).toEqual([]);
  });

  it('under KVM all is well', () => {
    expect(() => refuseAfterTcgUnplug({ accel: 'kvm', runtimeFolder: folder }, 'hotplugAddDevice')).not.toThrow();
  });
});

describe('a machine without hot-plug', () => {
  it('says so of every operation that would need it', async () => {
    const driver = qemu.driver(contextFor(qemu, { machineType: 'microvm' }));
    const calls = [
      driver.resizeVcpus?.(2),
      driver.resizeMemory?.(4096, 128, false),
      driver.hotplugAddDevice?.({ kind: 'cpu', count: 1 }),
      driver.hotplugRemoveDevice?.({ kind: 'memory', sizeMiB: 128 }),
    ];
    for (const call of calls) {
      expect(await failure(call ?? Promise.reject(new Error('there is no such method')))).toMatchObject({
        code: 'UNSUPPORTED',
        rawMessage: expect.stringContaining('the machine type microvm has no hot-plug'),
        advice: 'Use the machine type q35 or pc.',
      });
    }
  });
});

describe('a memory dump', () => {
  const dump = (qmp: FakeMonitor['qmp'], memoryBytes: number): ReturnType<typeof dumpToFile> =>
    dumpToFile(qmp, path.join(folder, 'fifo'), path.join(folder, 'dump'), { memoryBytes, paging: false }, {});

  it('that has not enough room is refused before it begins, with both figures', async () => {
    const error = await failure(dump(await machine({}), 2 ** 50));
    expect(error).toMatchObject({ code: 'IO', facts: { operation: 'dumpMemory', path: path.join(folder, 'dump') } });
    expect(error.rawMessage).toMatch(/^a dump needs 1073741888 MiB of room, and .* has \d+$/);
    expect([commands(), readdirSync(folder)]).toEqual([[], [path.basename(vmmFiles.eventsOut(folder))]]);
  });

  it('into a folder that is not there is refused', async () => {
    const { qmp } = await fakeMonitor(() => ({}));
    const at = path.join(folder, 'none', 'dump');
    const error = failure(dumpToFile(qmp, path.join(folder, 'fifo'), at, { memoryBytes: 1, paging: false }, {}));
    expect(await error).toMatchObject({ code: 'IO', facts: { path: path.dirname(at) } });
    await qmp.close();
  });

  it('into a file that is there is refused, and that file stays as it is', async () => {
    const [file, link] = [path.join(folder, 'dump'), path.join(folder, 'link')];
    writeFileSync(file, 'of the caller');
    symlinkSync(path.join(folder, 'nowhere'), link);
    const qmp = await machine({ 'dump-guest-memory': { events: [{ event: 'DUMP_COMPLETED', data: {} }] } });
    for (const taken of [file, link])
      expect(
        await failure(dumpToFile(qmp, path.join(folder, 'fifo'), taken, { memoryBytes: 1, paging: false }, {})),
      ).toMatchObject({ code: 'IO', facts: { path: taken, errno: 'EEXIST' } });
    expect([readFileSync(file, 'utf8'), readlinkSync(link), commands()]).toEqual([
      'of the caller',
      path.join(folder, 'nowhere'),
      [],
    ]);
  });

  it('that QEMU refuses leaves neither file nor FIFO', async () => {
    const qmp = await machine({ 'dump-guest-memory': { error: 'no room' } });
    expect(await codeOf(dump(qmp, 1))).toBe('VMM_FAILED');
    expect(existsSync(path.join(folder, 'dump')) || existsSync(path.join(folder, 'fifo'))).toBe(false);
  });
});

describe('a migration into a file', () => {
  const save = (qmp: FakeMonitor['qmp'], file: string): Promise<unknown> =>
    migrateToFile(qmp, vmmFiles.migration(folder), file, { withoutSharedMemory: false });

  it('that is there is refused, and that file stays as it is', async () => {
    const file = path.join(folder, 'state');
    writeFileSync(file, 'of the caller');
    const qmp = await machine({});
    expect(await failure(save(qmp, file))).toMatchObject({ code: 'IO', facts: { path: file, errno: 'EEXIST' } });
    expect([readFileSync(file, 'utf8'), commands()]).toEqual(['of the caller', []]);
  });

  it('begins where a process was killed during another one', async () => {
    const socket = vmmFiles.migration(folder);
    const killed = "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
    spawnSync(process.execPath, ['-e', killed, socket]);
    expect(existsSync(socket)).toBe(true);
    const qmp = await machine({ migrate: { error: 'not now' } });
    expect(await failure(save(qmp, path.join(folder, 'state')))).toMatchObject({
      code: 'VMM_FAILED',
      rawMessage: expect.stringContaining('not now'),
    });
    expect(readdirSync(folder)).toEqual([path.basename(vmmFiles.eventsOut(folder))]);
  });
});

describe('what is saved', () => {
  const restored = {
    argv: ['-device', '{"driver":"virtio-rng-pci","rng":"rng0","id":"rng"}', '-object', '{"qom-type":"x","id":"d1"}'],
  };
  const complete = async (names: readonly string[], disks: readonly object[]): Promise<string> => {
    const qmp = await machine({
      'qom-list': { value: [{ name: 'type', type: 'string' }, ...names.map((name) => ({ name, type: 'child<x>' }))] },
      'query-block': { value: disks },
    });
    try {
      await requireComplete(qmp, restored as unknown as Parameters<typeof requireComplete>[1], {});
      return '';
    } catch (error) {
      return (error as { rawMessage: string }).rawMessage;
    }
  };

  it('is a machine that would be made again, part by part', async () => {
    expect(await complete(['rng'], [{ device: '', qdev: 'cd', inserted: { ro: true } }, { device: 'floppy' }])).toBe(
      '',
    );
    expect(await complete(['rng', 'd1'], [])).toBe("the state of d1 can't be saved");
  });

  it('is none with a disk that the guest may write', async () => {
    expect(await complete(['rng'], [{ device: '', qdev: 'rng', inserted: { ro: false } }])).toBe(
      'the guest may write to the disk rng, and a snapshot holds no disks',
    );
  });
});
