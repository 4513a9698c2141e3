import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Vm } from '../../src/sandbox/vm.ts';
import { smallGuest, withGuest } from './guest.ts';

/*
 * Devices that need a VM of their own: another machine, a saved one, one that is used from the command line.
 */

let folder: string;
const file = (name: string): string => path.join(folder, name);
function disk(name: string, sizeMiB = 1): string {
  writeFileSync(file(name), Buffer.alloc(sizeMiB * 2 ** 20, name));
  chmodSync(file(name), 0o666);
  return file(name);
}
const sh = async (vm: Vm, script: string): Promise<string> =>
  (await vm.exec(['sh', '-c', script], { check: true })).stdout.trim();

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'machines-'));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

it('an old PC takes disks as well, as memory too, and goes on with them from a snapshot', async () => {
  const image = disk('hot');
  const snapshot = file('snapshot');
  const options = { ...smallGuest, machineType: 'pc', defaultBridges: 2 };
  await withGuest(
    { ...options, devices: [{ kind: 'block', id: 'cold', path: disk('cold'), readOnly: true }] },
    async (vm) => {
      const { guestPath } = await vm.attachDevice({
        kind: 'block',
        id: 'hot',
        path: image,
        readOnly: true,
        driver: 'virtio-scsi',
      });
      expect(guestPath).toBe('02/02/0:0');
      await vm.attachDevice({ kind: 'net', id: 'card', mac: '02:00:00:00:00:42' });
      await vm.snapshot(snapshot);
    },
  );
  const restored = await Vm.restore(snapshot);
  try {
    expect(await sh(restored, 'head -c 4 /dev/vda; head -c 3 /dev/sda; cat /sys/class/net/eth0/address')).toBe(
      'coldhot02:00:00:00:00:42',
    );
    expect((await restored.inspect()).devices.map(({ device }) => device.id)).toEqual(['cold', 'hot', 'card']);
    await restored.detachDevice('hot');
    expect(await sh(restored, 'ls -d /sys/block/sd* 2>/dev/null || echo gone')).toBe('gone');
    // What came with the snapshot holds its place.
    const { guestPath } = await restored.attachDevice({ kind: 'block', id: 'more', path: image, readOnly: true });
    expect(guestPath).toBe('02/04');
  } finally {
    await restored.remove();
  }
});

it('disks as memory, and folders by 9p from the start', async () => {
  mkdirSync(file('nine'));
  chmodSync(file('nine'), 0o777);
  const options = { ...smallGuest, blockDeviceDriver: 'nvdimm', sharedFs: 'virtio-9p' } as const;
  await withGuest(
    {
      ...options,
      devices: [
        { kind: 'block', id: 'cold', path: disk('nv0', 128) },
        { kind: 'fs', id: 'nine', path: file('nine'), driver: 'virtio-9p' },
      ],
    },
    async (vm) => {
      await vm.attachDevice({ kind: 'block', id: 'hot', path: disk('nv1', 128), readOnly: true });
      const found = await sh(
        vm,
        'until [ -e /sys/block/pmem1 ]; do sleep 0.05; done; head -c 3 /dev/pmem0; head -c 3 /dev/pmem1',
      );
      expect(found).toBe('nv0nv1');
      await expect(vm.detachDevice('hot')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
      // The guest's kernel has no 9p: that QEMU has it, and how, is told by its command line and the guest's bus.
      expect(await sh(vm, 'cat /sys/bus/virtio/devices/*/device')).toContain('0x0009');
      const [pid = 0] = (await vm.inspect()).pids;
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('security_model=mapped-xattr');
    },
  );
});

it('are attached and detached from the command line', async () => {
  const image = disk('cli');
  const polyvisor = async (...words: string[]): Promise<string> =>
    (await promisify(execFile)(process.execPath, ['bin/polyvisor.js', ...words])).stdout;
  await withGuest({}, async (vm) => {
    const attached = JSON.parse(
      await polyvisor('attach', 'disk', vm.name, `${image}:ro`, '--serial', 'CLI', '--json'),
    ) as {
      id: string;
      guestPath: string;
    };
    expect(attached).toMatchObject({ kind: 'block', guestPath: '02/01' });
    expect(await sh(vm, 'cat /sys/block/vda/serial /sys/block/vda/ro')).toBe('CLI1');
    expect(await polyvisor('attach', 'serial', vm.name, 'a.port', '--id', 'p0')).toMatch(/^p0\t\/.*\.sock\n$/);
    expect(JSON.parse(await polyvisor('detach', vm.name, attached.id, 'p0', '--json'))).toEqual([attached.id, 'p0']);
    expect(await sh(vm, 'ls /sys/block')).toBe('');
    const refused = await polyvisor('detach', vm.name, 'p0').catch((error: { code: number; stderr: string }) => error);
    expect(refused).toMatchObject({ stderr: expect.stringContaining('INVALID_ARGUMENT') as string });
  });
  const ran = await polyvisor(
    ...[
      'run',
      '-q',
      '--accel',
      'tcg',
      '-m',
      '256M',
      '--disk',
      `${image}:ro`,
      '-v',
      `${folder}:/mnt/host:ro`,
      '--net',
      'user',
      '--',
    ],
    ...['sh', '-c', 'head -c 3 /dev/vda; ls /mnt/host/cli; ip -4 -o addr show eth0 | grep -o 10.0.2.15'],
  );
  expect(ran).toBe('cli/mnt/host/cli\n10.0.2.15\n');
});
