import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { cloudHypervisor } from '../../../src/hypervisors/cloud-hypervisor/index.ts';
import type { BlockDevice, FsDevice, NetDevice } from '../../../src/hypervisors/device.ts';
import { openConsole } from '../../../src/sandbox/console.ts';
import { keepsAcrossTests } from '../../support/leaks.ts';
import { hugePagesInUse, withHugePages, withServedDisk } from '../host-side.ts';
import { withStarted } from '../figures.ts';
import { type LabMachine, labMachine } from '../machine.ts';

const daemon = '/usr/lib/qemu/virtiofsd';

keepsAcrossTests('file', /polyvisor-lab-clh-/);
// What a daemon has said stays as long as its VM, and so do devices of its jail.
keepsAcrossTests('file', /\/daemon-folder\.log$|\/jail\//);

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof VmError ? error.code : String(error)),
  );

/** What the contract suite leaves out: what devices are to the guest, and what only Cloud Hypervisor has. */
export function describeOwn(): void {
  let folder = '';
  const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
    const file = path.join(folder, `${id}.img`);
    writeFileSync(file, `this is ${id}`);
    truncateSync(file, 4 * 2 ** 20);
    // A confined VMM has a uid of its own.
    chmodSync(file, 0o666);
    return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
  };
  const share = (id: string): FsDevice => {
    const at = path.join(folder, id);
    mkdirSync(at, { recursive: true });
    writeFileSync(path.join(at, 'hello'), `from ${id}\n`);
    return { kind: 'fs', id, path: at, tag: id, readOnly: false };
  };
  const tap = (name: string): NetDevice => {
    execFileSync('ip', ['tuntap', 'add', name, 'mode', 'tap']);
    execFileSync('ip', ['link', 'set', name, 'up']);
    return { kind: 'net', id: `net-${name}`, tap: name, mac: '02:00:00:00:00:07' };
  };
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-lab-clh-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  describe('clh: devices of a running VM, which is confined', () => {
    let vm: LabMachine;
    beforeAll(async () => {
      vm = await labMachine(cloudHypervisor, { maxVcpus: 2, virtioFsDaemon: daemon, sharedFs: 'virtio-fs' }, 'strict');
      await vm.hypervisor.create();
      await vm.hypervisor.start();
      await vm.link();
    });
    afterAll(() => vm.discard());

    it('a disk: both sides see what is written, and it is counted', async () => {
      const device = disk('data', { rateLimit: { bytesPerSecond: 2 ** 26 }, serial: 'SN-1' });
      const { guestPath } = await vm.hypervisor.hotplugAddDevice(device);
      expect(guestPath).toMatch(/^0000:00:[0-9a-f]{2}\.0$/);
      expect(await vm.shell(`ls /sys/bus/pci/devices/${guestPath}/virtio*/block`)).toBe('vda');
      expect(await vm.shell('cat /sys/block/vda/serial; head -c 12 /dev/vda')).toBe('SN-1this is data');
      await vm.shell('printf "by the guest" | dd of=/dev/vda bs=512 conv=notrunc,fsync 2>/dev/null; sync');
      expect(readFileSync(device.path).subarray(0, 12).toString()).toBe('by the guest');
      const { disks, guestMemoryBytes, vcpus } = await vm.hypervisor.statistics();
      expect(disks).toMatchObject([{ id: 'data' }]);
      expect(disks?.[0]?.writtenBytes).toBeGreaterThan(0);
      expect(guestMemoryBytes).toBe(256 * 2 ** 20);
      expect(vcpus).toHaveLength(2);
      await vm.hypervisor.hotplugRemoveDevice(device);
      expect(await vm.shell('test -e /dev/vda || echo gone')).toBe('gone');
    });

    it('a disk that must not be written, and one that is memory', async () => {
      const [fixed, memory] = [disk('fixed', { readOnly: true }), disk('memory', { driver: 'nvdimm' })];
      await vm.hypervisor.hotplugAddDevice(fixed);
      expect(await vm.shell('cat /sys/block/vda/ro')).toBe('1');
      await vm.hypervisor.hotplugAddDevice(memory);
      expect(await vm.shell('while [ ! -e /dev/pmem0 ]; do :; done; head -c 14 /dev/pmem0')).toBe('this is memory');
      for (const device of [memory, fixed]) await vm.hypervisor.hotplugRemoveDevice(device);
    });

    it('its vCPUs as cores of one package', async () => {
      const topology = '/sys/devices/system/cpu/cpu*/topology';
      const script = ['physical_package_id', 'core_id', 'thread_siblings_list'].map(
        (name) => `cat ${topology}/${name}`,
      );
      expect((await vm.shell(script.join(';'))).split('\n')).toEqual(['0', '0', '0', '1', '0', '1']);
    });

    it('a network card on a tap, once', async () => {
      const device = tap('clh0');
      try {
        await vm.hypervisor.hotplugAddDevice(device);
        expect(await vm.shell('cat /sys/class/net/eth0/address')).toBe('02:00:00:00:00:07');
        expect(await codeOf(vm.hypervisor.hotplugAddDevice({ ...device, id: 'again' }))).toBe('INVALID_ARGUMENT');
        expect((await vm.hypervisor.statistics()).networks).toMatchObject([{ id: device.id }]);
        await vm.hypervisor.hotplugRemoveDevice(device);
      } finally {
        execFileSync('ip', ['link', 'del', 'clh0']);
      }
      expect(await codeOf(vm.hypervisor.hotplugAddDevice({ ...device, tap: 'none' }))).toBe('INVALID_ARGUMENT');
    });

    it('a shared folder, whose daemon ends with it', async () => {
      const device = share('folder');
      await vm.hypervisor.hotplugAddDevice(device);
      expect(
        await vm.shell('mkdir -p /m && mount -t virtiofs folder /m && cat /m/hello && echo back > /m/answer'),
      ).toBe('from folder');
      expect(readFileSync(path.join(device.path, 'answer'), 'utf8')).toBe('back\n');
      await vm.shell('umount /m');
      await vm.hypervisor.hotplugRemoveDevice(device);
    });

    it('a disk that another process serves', async () => {
      const socket = path.join(folder, 'served.sock');
      await withServedDisk(disk('served').path, socket, async () => {
        const device = { kind: 'vhost-user', id: 'served', type: 'blk', socket } as const;
        await vm.hypervisor.hotplugAddDevice(device);
        expect(await vm.shell('until [ -b /dev/vda ]; do sleep 0.1; done; head -c 14 /dev/vda')).toBe('this is served');
        await vm.hypervisor.hotplugRemoveDevice(device);
      });
    });

    it('a terminal to talk on, beside the log', async () => {
      const { hypervisor, context } = vm;
      const location = await hypervisor.console();
      expect(location.protocol).toBe('pty');
      const terminal = await openConsole({ name: 'lab', hypervisor, stateFolder: context.stateFolder });
      const heard = new Promise<string>((resolve, reject) => {
        let text = '';
        terminal.on('data', (data: Buffer) => {
          text += data.toString();
          if (text.includes('sum 42')) resolve(text);
        });
        terminal.on('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)));
      });
      terminal.write('echo sum $((40+2)); exit\r');
      await heard;
      await new Promise((resolve) => terminal.on('close', resolve).destroy());
      expect(readFileSync(location.log, 'utf8')).toContain('polyvisor-agent');
    });

    it('what it says of its VM', async () => {
      const { hypervisor } = vm;
      await hypervisor.pause();
      await hypervisor.resume();
      const over = new AbortController();
      const seen: string[] = [];
      for await (const { event, at } of hypervisor.vmmEvents(over.signal)) {
        expect(Math.abs(Date.parse(at) - Date.now())).toBeLessThan(600_000);
        seen.push(event);
        if (event === 'resumed') over.abort();
      }
      expect(seen).toEqual(expect.arrayContaining(['device-deleted', 'paused', 'resumed']));
    });
  });

  describe('clh: devices from the start, and memory by ACPI', () => {
    it('has them when it boots, grows, and is saved and restored with them', async () => {
      const change = {
        maxVcpus: 2,
        virtioFsDaemon: daemon,
        sharedFs: 'virtio-fs',
        reclaimGuestFreedMemory: true,
      } as const;
      const vm = await labMachine(cloudHypervisor, change, 'strict');
      const [first, folderDevice, card] = [disk('first'), share('early'), tap('clh1')];
      const saved = path.join(folder, 'saved');
      mkdirSync(saved);
      try {
        await vm.hypervisor.create();
        for (const device of [first, folderDevice, card]) await vm.hypervisor.addDevice(device);
        await vm.hypervisor.start();
        expect(await vm.shell('head -c 13 /dev/vda; cat /sys/class/net/eth0/address')).toBe(
          'this is first02:00:00:00:00:07',
        );
        expect(await vm.shell('mkdir -p /m && mount -t virtiofs early /m && cat /m/hello && umount /m')).toBe(
          'from early',
        );
        expect(await vm.hypervisor.resizeMemory(300, 128, false)).toMatchObject({ beforeMiB: 256, memoryMiB: 384 });
        // The guest is told by ACPI, and takes it after the VMM says that it is there.
        const total = "sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo";
        await vm.shell(`until [ $(${total}) -gt ${300 * 1024} ]; do sleep 0.1; done`);
        expect(await codeOf(vm.hypervisor.resizeMemory(256, 128, false))).toBe('INVALID_ARGUMENT');
      } finally {
        await vm.discard();
        execFileSync('ip', ['link', 'del', 'clh1']);
      }
    });
  });

  it('clh: has its memory in huge pages', () =>
    withHugePages(140, async () => {
      const vm = await labMachine(cloudHypervisor, { hugePages: true }, 'strict');
      try {
        await vm.hypervisor.create();
        await vm.hypervisor.start();
        expect(await vm.shell('echo up')).toBe('up');
        expect(hugePagesInUse()).toBeGreaterThan(0);
      } finally {
        await vm.discard();
      }
    }));

  describe('clh: a template', () => {
    it('has clones that map its memory privately: each sees its own writes alone', async () => {
      const at = path.join(folder, 'template');
      mkdirSync(at, { mode: 0o700 });
      const files = { memoryPath: path.join(at, 'memory'), devicesStatePath: path.join(at, 'state') };
      const template = await labMachine(cloudHypervisor, { bootToBeTemplate: true, ...files }, 'strict');
      try {
        await template.hypervisor.create();
        await template.hypervisor.start();
        expect(await template.shell('echo shared >/tmp/from; cat /tmp/from')).toBe('shared');
        // With its session open: the end of one that is just closed could meet a clone's, which has its number.
        await template.hypervisor.pause();
        await template.hypervisor.save(at);
      } finally {
        await template.discard();
      }
      expect(existsSync(path.join(at, 'memory-ranges'))).toBe(false);
      const clones: LabMachine[] = [];
      try {
        for (const number of [1, 2]) {
          const clone = await labMachine(cloudHypervisor, {}, 'strict');
          clones.push(clone);
          await clone.hypervisor.create();
          await clone.hypervisor.restore(at);
          await clone.hypervisor.resume();
          expect(await clone.shell(`cat /tmp/from; echo ${number} >/tmp/from; cat /tmp/from`)).toBe(
            `shared\n${number}`,
          );
        }
        const [clone] = clones as [LabMachine];
        expect(await clone.shell('cat /tmp/from')).toBe('1');
        // `p`: what it writes becomes its own, and all else is the template's page.
        const maps = readFileSync(`/proc/${clone.hypervisor.process()?.pid}/smaps`, 'utf8');
        const own = maps
          .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
          .filter((part) => part.split('\n')[0]?.endsWith(files.memoryPath));
        expect(own.length).toBeGreaterThan(0);
        for (const part of own) expect(part).toMatch(/^\S+ rw-p/);
        const sum = (field: string): number =>
          own.reduce((all, part) => all + Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(part)?.[1]), 0);
        expect(sum('Private_Dirty')).toBeLessThan(sum('Rss'));
        expect(await codeOf(clone.hypervisor.resizeMemory(384, 128, false))).toBe('UNSUPPORTED');
        // One that was saved again has memory of its own.
        const again = path.join(folder, 'again');
        mkdirSync(again);
        await clone.hypervisor.pause();
        await clone.hypervisor.save(again);
        expect(existsSync(path.join(again, 'memory-ranges'))).toBe(true);
        const third = await labMachine(cloudHypervisor, {}, 'strict');
        clones.push(third);
        await third.hypervisor.create();
        await third.hypervisor.restore(again);
        await third.hypervisor.resume();
        expect(await third.shell('cat /tmp/from')).toBe('1');
      } finally {
        for (const clone of clones) await clone.discard();
      }
    });
  });

  describe('clh: confined', () => {
    it('boots, has its terminal and is paused, with nothing missing', async () => {
      const vm = await labMachine(cloudHypervisor, { maxVcpus: 2 }, 'strict');
      try {
        await vm.hypervisor.create();
        await vm.hypervisor.start();
        expect(await vm.shell('echo up')).toBe('up');
        expect((await vm.hypervisor.console()).protocol).toBe('pty');
        const tasks = `/proc/${vm.hypervisor.process()?.pid ?? 0}/task`;
        const vcpu = (await vm.hypervisor.threadIds()).get(0) ?? 0;
        // Each thread gets a filter of its own; the first one, which only waits for signals, has none.
        const status = readFileSync(`${tasks}/${vcpu}/status`, 'utf8');
        expect(status).toMatch(/^Seccomp:\t2$/m);
        expect(status).toMatch(/^CapEff:\t0{16}$/m);
        await vm.hypervisor.pause();
        const saved = path.join(folder, 'confined');
        mkdirSync(saved);
        await vm.hypervisor.save(saved);
        expect(readdirSync(saved).toSorted()).toEqual([
          'cloud-hypervisor.json',
          'config.json',
          'memory-ranges',
          'state-mapped.json',
          'state.json',
        ]);
      } finally {
        await vm.discard();
      }
    });

    it.each(['mapped', 'growable'])('goes on from a snapshot before its memory has been read (%s)', async (how) => {
      const memoryMiB = 512;
      const saved = path.join(folder, `large-${how}`);
      const again = path.join(folder, `again-${how}`);
      for (const made of [saved, again]) mkdirSync(made, { mode: 0o700 });
      const sum = 'head -c 30000000 /tmp/random | sha256sum';
      let before = '';
      await withStarted(cloudHypervisor, { memoryMiB }, [], async ({ hypervisor, shell }) => {
        await shell('head -c 30000000 /dev/urandom >/tmp/random');
        before = await shell(sum);
        await hypervisor.pause();
        await hypervisor.save(saved);
      });
      const other = await labMachine(cloudHypervisor, { memoryMiB }, 'strict');
      try {
        const { hypervisor, shell } = other;
        await hypervisor.create();
        await hypervisor.restore(saved, { growable: how === 'growable' });
        await hypervisor.resume();
        expect(await shell('echo up')).toBe('up');
        const pid = hypervisor.process()?.pid ?? 0;
        const residentMiB = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
        expect(residentMiB).toBeLessThan(memoryMiB / 2);
        // It has been opened, and is not there to be opened again.
        expect(readdirSync(`/proc/${pid}/root/dev/.own`)).not.toContain('dev-userfaultfd');
        expect(readFileSync(`/proc/${pid}/maps`, 'utf8').includes('memory-ranges')).toBe(how === 'mapped');
        expect(await shell(sum)).toBe(before);
        const grown = hypervisor.resizeMemory(memoryMiB + 128, 128, false);
        if (how === 'mapped') await expect(grown).rejects.toMatchObject({ code: 'UNSUPPORTED' });
        else expect(await grown).toMatchObject({ memoryMiB: memoryMiB + 128 });
        await shell('echo written >/tmp/after');
        await hypervisor.pause();
        await hypervisor.save(again);
      } finally {
        await other.discard();
      }
      // What it wrote is in its own snapshot, and in no other.
      for (const [from, after] of [
        [again, 'written'],
        [saved, ''],
      ] as const) {
        const third = await labMachine(cloudHypervisor, { memoryMiB }, 'strict');
        try {
          await third.hypervisor.create();
          await third.hypervisor.restore(from, { growable: how === 'mapped' });
          await third.hypervisor.resume();
          if (how === 'mapped')
            expect(await third.hypervisor.resizeMemory(memoryMiB + 128, 128, false)).toMatchObject({
              memoryMiB: memoryMiB + 128,
            });
          expect(await third.shell('cat /tmp/after 2>/dev/null || true')).toBe(after);
          expect(await third.shell(sum)).toBe(before);
        } finally {
          await third.discard();
        }
        rmSync(from, { recursive: true });
      }
    });
  });
}
