import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HeldVm } from '../../src/sandbox/held-vm.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { VmStore } from '../../src/state/store.ts';
import { connectQmp } from '../../src/transports/qmp/client.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest, withGuest } from './guest.ts';

const read = async (vm: Vm, command: string): Promise<string> =>
  (await vm.exec(command, { check: true })).stdout.trim();
const guestMiB = async (vm: Vm): Promise<number> =>
  Number(await read(vm, "awk '/^MemTotal/ { print $2 }' /proc/meminfo")) / 1024;

/** Changes a byte in the middle of a file. */
function flipByte(file: string): void {
  const content = readFileSync(file);
  const at = content.length >> 1;
  content[at] = (content[at] ?? 0) ^ 0xff;
  writeFileSync(file, content);
}

describe('one VM, resized and saved', () => {
  let vm: Vm;
  let scratch: string;
  keepsAcrossTests('file', /polyvisor-snapshot-/);

  beforeAll(async () => {
    scratch = mkdtempSync(path.join(tmpdir(), 'polyvisor-snapshot-'));
    vm = await Vm.create({ ...smallGuest, vcpus: 2, maxVcpus: 4, memorySlots: 2 });
  });
  afterAll(async () => {
    await vm.remove();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('grows by a module that the guest uses at once, and shrinks again', async () => {
    const before = await guestMiB(vm);
    expect(await vm.resize({ memoryMiB: 500 })).toEqual({ memoryMiB: { before: 256, after: 512 } });
    expect((await guestMiB(vm)) - before).toBeCloseTo(256, -1);
    expect((await vm.statistics()).vmm.guestMemoryBytes).toBe(512 * 2 ** 20);
    expect(await vm.resize({ memoryMiB: 256 })).toEqual({ memoryMiB: { before: 512, after: 256 } });
    expect(await guestMiB(vm)).toBeCloseTo(before, -1);
    expect(await vm.inspect()).toMatchObject({ memoryMiB: 256, vcpus: 2 });
  });

  it('refuses what is beyond its limits, and stays as it is', async () => {
    for (const wrong of [{ memoryMiB: 255 }, { memoryMiB: 2 ** 30 }, { vcpus: 0 }, { vcpus: 5 }, { vcpus: 1.5 }, {}]) {
      expect(await codeOf(vm.resize(wrong))).toBe('INVALID_ARGUMENT');
    }
    await vm.resize({ memoryMiB: 384 });
    await vm.resize({ memoryMiB: 512 });
    expect(await codeOf(vm.resize({ memoryMiB: 640 }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(vm.resize({ memoryMiB: 450 }))).toBe('INVALID_ARGUMENT');
    expect((await vm.statistics()).vmm.guestMemoryBytes).toBe(512 * 2 ** 20);
  });

  it('vCPUs and memory are plugged as devices, too', async () => {
    const store = new VmStore();
    const { hypervisor } = await HeldVm.fromRecord(store, await store.read(vm.name));
    await hypervisor.hotplugAddDevice({ kind: 'cpu', count: 1 });
    await vm.agent.online();
    expect(await read(vm, 'nproc')).toBe('3');
    expect(await codeOf(hypervisor.hotplugAddDevice({ kind: 'cpu', count: 2 }))).toBe('INVALID_ARGUMENT');

    const full = await guestMiB(vm);
    expect(await codeOf(hypervisor.hotplugAddDevice({ kind: 'memory', sizeMiB: 128 }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(hypervisor.hotplugRemoveDevice({ kind: 'memory', sizeMiB: 64 }))).toBe('INVALID_ARGUMENT');
    await hypervisor.hotplugRemoveDevice({ kind: 'memory', sizeMiB: 128, slot: 0 });
    expect(full - (await guestMiB(vm))).toBeCloseTo(128, -1);
    expect(await codeOf(hypervisor.hotplugAddDevice({ kind: 'memory', sizeMiB: 128, slot: 1 }))).toBe(
      'INVALID_ARGUMENT',
    );
    await hypervisor.hotplugAddDevice({ kind: 'memory', sizeMiB: 128, slot: 0 });
    await vm.agent.online();
    expect(await guestMiB(vm)).toBeCloseTo(full, -1);
    expect((await vm.statistics()).vmm.guestMemoryBytes).toBe(512 * 2 ** 20);
  });

  it('gets more vCPUs, which the guest uses at once', async () => {
    expect(await vm.resize({ vcpus: 4 })).toEqual({ vcpus: { before: 3, after: 4 } });
    expect(await read(vm, 'nproc')).toBe('4');
    expect((await vm.statistics()).vmm.vcpus.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  });

  it('binds a vCPU to a CPU of the host', async () => {
    await vm.pinVcpus({ 3: [0] });
    expect(await codeOf(vm.pinVcpus({ 4: [0] }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(vm.pinVcpus({ 3: [100_000] }))).toBe('INVALID_ARGUMENT');
  });

  it('is saved as it is now, and goes on in another VM', async () => {
    await read(vm, 'echo kept > /tmp/kept');
    const bootId = await read(vm, 'cat /proc/sys/kernel/random/boot_id');
    const folder = path.join(scratch, 'one');
    let bytes = 0;
    await vm.snapshot(folder, { onProgress: (written) => (bytes = written) });
    expect(bytes).toBe(statSync(path.join(folder, 'qemu.state')).size);
    expect(readdirSync(folder).map((name) => statSync(path.join(folder, name)).mode & 0o777)).toEqual([
      0o600, 0o600, 0o600,
    ]);
    await vm.agent.ping();
    expect(await codeOf(vm.snapshot(folder))).toBe('INVALID_ARGUMENT');
    const again = await Vm.restore(folder, { name: `again-${process.pid}` });
    try {
      expect(await read(again, 'cat /tmp/kept /proc/sys/kernel/random/boot_id')).toBe(`kept\n${bootId}`);
      expect(await read(again, 'nproc; hostname')).toBe(`4\n${again.name}`);
      expect((await again.statistics()).vmm.guestMemoryBytes).toBe(512 * 2 ** 20);
      expect((await again.agent.info()).reseeds).toBeGreaterThan((await vm.agent.info()).reseeds);
    } finally {
      await again.remove();
    }
  });

  it.each([
    ['its stream is cut short', (folder: string) => truncateSync(path.join(folder, 'qemu.state'), 1 << 20)],
    ['a byte of its stream is another', (folder: string) => flipByte(path.join(folder, 'qemu.state'))],
    ['its machine is unreadable', (folder: string) => writeFileSync(path.join(folder, 'qemu.json'), '{')],
    ['its stream is missing', (folder: string) => rmSync(path.join(folder, 'qemu.state'))],
  ])('a snapshot is refused when %s, and nothing is left', async (_, damage) => {
    const folder = path.join(scratch, 'damaged');
    cpSync(path.join(scratch, 'one'), folder, { recursive: true });
    damage(folder);
    const name = `damaged-${process.pid}`;
    expect(await codeOf(Vm.restore(folder, { name }))).toMatch(
      /^(FILE_INVALID|FILE_NOT_FOUND|STATE_INVALID|START_FAILED)$/,
    );
    expect((await Vm.list()).map((it) => it.name)).not.toContain(name);
    rmSync(folder, { recursive: true });
  });

  it('a snapshot that is given up leaves the VM running and the folder away', async () => {
    const folder = path.join(scratch, 'two');
    const giveUp = new AbortController();
    const onProgress = (): void => giveUp.abort();
    expect(await codeOf(vm.snapshot(folder, { onProgress, signal: giveUp.signal }))).toBe('ABORTED');
    expect(readdirSync(scratch)).not.toContain('two');
    await vm.agent.ping();
    await vm.snapshot(folder);
    await vm.agent.ping();
  });

  it('is not saved with a disk that it would not have again, or that it may write', async () => {
    const { folders } = await vm.inspect();
    const disk = { driver: 'null-co', 'node-name': 'spare', size: 1 << 20 };
    const qmp = await connectQmp(vmmFiles.qmpSocket(folders.runtime));
    await qmp.execute('blockdev-add', disk);
    await qmp.execute('device_add', {
      driver: 'virtio-blk-pci',
      id: 'spare-disk',
      drive: 'spare',
      bus: 'pci-bridge-0',
    });
    await qmp.close();
    const error = await failure(vm.snapshot(path.join(scratch, 'disk')));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.rawMessage).toMatch(
      /the state of spare-disk can't be saved; the guest may write to the disk \S*spare-disk/,
    );
    expect(readdirSync(scratch)).not.toContain('disk');
    await vm.agent.ping();
  });

  // Last: QEMU under TCG plugs nothing after a vCPU was unplugged.
  it('gives vCPUs back, those of its start too, and then says that nothing can be plugged', async () => {
    expect(await vm.resize({ vcpus: 1 })).toEqual({ vcpus: { before: 4, after: 1 } });
    expect(await read(vm, 'nproc')).toBe('1');
    expect(await codeOf(vm.resize({ vcpus: 2 }))).toBe('UNSUPPORTED');
    expect(await read(vm, 'nproc')).toBe('1');
    await vm.check();
  });
});

it('virtio-mem gives memory past 4 GiB and takes it back', async () =>
  withGuest({ virtioMem: true, name: `vmem-${process.pid}` }, async (vm) => {
    const before = await guestMiB(vm);
    expect(await vm.resize({ memoryMiB: 5000 })).toEqual({ memoryMiB: { before: 256, after: 5000 } });
    expect((await guestMiB(vm)) - before).toBeGreaterThan(4600);
    expect(await vm.resize({ memoryMiB: 1000 })).toEqual({ memoryMiB: { before: 5000, after: 1000 } });
    expect((await guestMiB(vm)) - before).toBeLessThan(800);
  }));

it('a guest whose kernel has no place for a vCPU is told of, and goes on', async () =>
  withGuest({ kernelParams: [{ key: 'nr_cpus', value: '1' }], maxVcpus: 2 }, async (vm) => {
    const error = await failure(vm.resize({ vcpus: 2 }));
    expect([error.code, error.rawMessage]).toEqual(['GUEST_REFUSED', 'the guest uses 1 of its 2 vCPUs']);
    expect(await read(vm, 'nproc')).toBe('1');
    expect((await vm.inspect()).vcpus).toBe(2);
  }));
