import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultGuestOf } from '../../src/images/default-guest.ts';
import type { GuestImage } from '../../src/images/image.ts';
import { findImage } from '../../src/images/store.ts';
import { planVm } from '../../src/sandbox/plan.ts';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { keepsAcrossTests } from '../support/leaks.ts';

/*
 * A guest of arm64 on a host of amd64: QEMU's machine `virt`, emulated.
 */

const host = process.arch === 'x64';

describe.runIf(host)('a guest of arm64', () => {
  let folder: string;
  let image: GuestImage;
  let vm: Vm;
  const file = (name: string): string => path.join(folder, name);
  const sh = async (script: string, on: Vm = vm): Promise<string> =>
    (await on.exec(['sh', '-c', script], { check: true })).stdout.trim();
  function disk(name: string): string {
    writeFileSync(file(name), Buffer.alloc(2 ** 20, name));
    chmodSync(file(name), 0o666);
    return file(name);
  }
  // The disks; and what a card in user mode needs of the host is shown to QEMU until it is detached.
  keepsAcrossTests('file', /polyvisor-arm64-|resolv\.conf/);

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-arm64-'));
    chmodSync(folder, 0o755);
    const { name, agentPath } = defaultGuestOf('arm64');
    const find = (): Promise<GuestImage | undefined> => findImage(places().images, name, agentPath);
    if ((await find()) === undefined)
      await promisify(execFile)(process.execPath, ['bin/polyvisor.js', 'image', 'build', '--arch', 'arm64', '-q']);
    const found = await find();
    if (found === undefined) throw new Error('`polyvisor image build --arch arm64` has made no guest');
    image = found;
    vm = await Vm.create({
      arch: 'arm64',
      vcpus: 2,
      maxVcpus: 2,
      memoryMiB: 256,
      virtioMem: true,
      devices: [{ kind: 'block', id: 'cold', path: disk('cold'), readOnly: true }],
    });
  });
  afterAll(async () => {
    await vm.remove();
    rmSync(folder, { recursive: true });
  });

  it('is made of the packages of its architecture, and boots on virt', async () => {
    expect(image.manifest).toMatchObject({ name: 'default-arm64', architecture: 'aarch64', kernelFormat: 'image' });
    expect(await sh('uname -m; nproc; head -c 4 /dev/vda')).toBe('aarch64\n2\ncold');
    const { accel, pids, image: name } = await vm.inspect();
    expect({ accel, name }).toEqual({ accel: 'tcg', name: 'default-arm64' });
    const words = readFileSync(`/proc/${pids[0] ?? 0}/cmdline`, 'utf8').split('\0');
    expect(words[0]).toMatch(/\/qemu-system-aarch64$/);
    expect(words[words.indexOf('-machine') + 1]).toMatch(/^virt,/);
    expect(await sh('cat /proc/device-tree/compatible')).toContain('linux,dummy-virt');
    // Every command of busybox that it has a name for is one of its own.
    expect(await sh('for c in /bin/* /sbin/* /usr/bin/* /usr/sbin/*; do [ -x "$c" ] || echo "$c"; done')).toBe('');
    expect((await vm.statistics()).vmm.vcpus).toHaveLength(2);
  });

  it('takes disks and cards on its root ports, and gives them back', async () => {
    const plugged = await vm.attachDevice({ kind: 'block', id: 'hot', path: disk('hot'), serial: 'HOT' });
    expect(plugged.guestPath).toMatch(/^(09|0a)\/00$/);
    expect(await sh('cat /sys/block/vdb/serial; head -c 3 /dev/vdb')).toBe('HOThot');
    await sh('printf "from the guest" | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync');
    expect(readFileSync(file('hot')).toString('latin1', 0, 14)).toBe('from the guest');
    await vm.attachDevice({ kind: 'net', id: 'card', mac: '02:00:00:00:00:42' });
    expect(await sh('cat /sys/class/net/eth0/address')).toBe('02:00:00:00:00:42');
    await vm.detachDevice('hot');
    expect(await sh('ls /sys/block; ls /sys/class/net')).toBe('vda\neth0\nlo');
  });

  it('grows and shrinks by virtio-mem, and says what its machine has not', async () => {
    const total = async (): Promise<number> => Number(await sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) >> 10;
    const before = await total();
    expect(await vm.resize({ memoryMiB: 512 })).toEqual({ memoryMiB: { before: 256, after: 512 } });
    expect((await total()) - before).toBeGreaterThan(200);
    expect(await vm.resize({ memoryMiB: 256 })).toEqual({ memoryMiB: { before: 512, after: 256 } });
    const refused = await failure(vm.resize({ vcpus: 1 }));
    expect(refused).toMatchObject({ code: 'UNSUPPORTED', rawMessage: expect.stringContaining('virt') as string });
    expect(await sh('nproc')).toBe('2');
  });

  it('refuses a kernel, an image and an accelerator of another architecture, and finds out what a kernel is for', async () => {
    const own = await findImage(places().images, 'default');
    const guest = { kernel: own?.kernel, initrd: own?.initrd };
    expect(await codeOf(Vm.create({ ...guest, arch: 'arm64' }))).toBe('INVALID_CONFIG');
    expect(await codeOf(Vm.create({ kernel: 'host', arch: 'arm64' }))).toBe('INVALID_CONFIG');
    expect(await codeOf(Vm.create({ arch: 'arm64', accel: 'kvm' }))).toBe('ACCEL_UNUSABLE');
    const { kernel, initrd } = image;
    expect(await codeOf(Vm.create({ kernel, initrd, machineType: 'q35' }))).toBe('INVALID_CONFIG');
    expect(await codeOf(Vm.create({ kernel, initrd, hypervisor: 'firecracker' }))).toBe('INVALID_CONFIG');
    const { plan } = await planVm({ kernel, initrd });
    expect(plan.binary).toMatch(/qemu-system-aarch64$/);
    expect(plan.argv[plan.argv.indexOf('-machine') + 1]).toMatch(/^virt,/);
  });

  it('runs in a root image for its architecture, and in no other', async () => {
    const root = file('root');
    mkdirSync(path.join(root, 'bin'), { recursive: true });
    await vm.copyOut('/bin/busybox', path.join(root, 'bin/busybox'));
    await importImage(root, { name: 'foreign', arch: 'arm64' });
    try {
      const options = { image: 'foreign', memoryMiB: 256, accel: 'tcg' } as const;
      expect(await codeOf(Vm.create(options))).toBe('INVALID_CONFIG');
      const other = await Vm.create({ ...options, arch: 'arm64' });
      try {
        const { stdout } = await other.exec(['/bin/busybox', 'uname', '-m'], { check: true });
        expect(stdout).toBe('aarch64\n');
      } finally {
        await other.remove();
      }
    } finally {
      rmSync(places().roots, { recursive: true });
    }
  });

  it('is saved, and goes on where it was, until it is told to end', async () => {
    await sh('echo kept >/tmp/note');
    await vm.snapshot(file('snapshot'));
    const restored = await Vm.restore(file('snapshot'));
    try {
      expect(await sh('uname -m; cat /tmp/note; head -c 4 /dev/vda', restored)).toBe('aarch64\nkept\ncold');
      await restored.stop();
      expect(await restored.wait()).toMatchObject({ reason: 'guest-shutdown' });
      expect((await restored.inspect()).status).toBe('stopped');
    } finally {
      await restored.remove();
    }
  });
});
