import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import type { BlockDevice } from '../../../src/hypervisors/device.ts';
import { firecracker } from '../../../src/hypervisors/firecracker/index.ts';
import { isAlive } from '../../../src/state/process-identity.ts';
import { codeOf } from '../../fakes/failure.ts';
import { withStarted } from '../figures.ts';
import { hugePagesInUse, withHugePages, withServedDisk } from '../host-side.ts';
import { type LabMachine, labMachine } from '../machine.ts';

/** What the contract suite leaves out: what devices are to the guest, and what only Firecracker has. */
export function describeOwn(jailer: string): void {
  let folder = '';
  const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
    const file = path.join(folder, `${id}.img`);
    writeFileSync(file, `this is ${id}`);
    truncateSync(file, 4 * 2 ** 20);
    chmodSync(file, 0o666);
    return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
  };
  const withVm = async (
    change: VmConfigInput,
    cold: readonly BlockDevice[],
    use: (vm: LabMachine) => Promise<void>,
    confinement: 'strict' | 'off' = 'strict',
  ): Promise<void> => withStarted(firecracker, change, cold, use, confinement);
  const inFolder = async (test: () => Promise<void>): Promise<void> => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-lab-fc-'));
    try {
      await test();
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

  describe('firecracker: devices', () => {
    it('of the start and of later, with the addresses that they are said to have', () =>
      inFolder(() =>
        withVm(
          {},
          [disk('cold', { readOnly: true, rateLimit: { bytesPerSecond: 2 ** 26 } })],
          async (vm) => {
            expect(await vm.shell('cat /sys/block/vda/ro; head -c 12 /dev/vda')).toBe('1\nthis is cold');
            const { agent } = await vm.link();
            execFileSync('ip', ['tuntap', 'add', 'fc-lab', 'mode', 'tap']);
            try {
              const swapped = disk('swapped');
              expect(await vm.hypervisor.hotplugAddDevice(swapped)).toEqual({});
              await vm.shell(
                'until [ "$(cat /sys/block/vdb/size)" -gt 0 ]; do sleep 0.1; done; printf "by the guest" | dd of=/dev/vdb bs=512 conv=notrunc 2>/dev/null; sync',
              );
              expect(readFileSync(swapped.path).subarray(0, 12).toString()).toBe('by the guest');
              const card = { kind: 'net', id: 'card', tap: 'fc-lab', mac: '02:00:00:00:00:07' } as const;
              const plugged = [disk('late', { readOnly: true }), disk('memory', { driver: 'nvdimm' }), card] as const;
              const signs = [
                '[ -b /dev/vdj ]; do sleep 0.1; done; head -c 12 /dev/vdj',
                '[ -b /dev/pmem0 ]; do sleep 0.1; done; head -c 14 /dev/pmem0',
                '[ -e /sys/class/net/eth0 ]; do sleep 0.1; done; cat /sys/class/net/eth0/address',
              ];
              const found: string[] = [];
              const places: string[] = [];
              for (const [at, device] of plugged.entries()) {
                const { guestPath = '' } = await vm.hypervisor.hotplugAddDevice(device);
                await agent.rescan();
                found.push(await vm.shell(`until ${signs[at] ?? ''}`));
                places.push(guestPath);
              }
              expect(found).toEqual(['this is late', 'this is memory', card.mac]);
              const { disks } = await vm.hypervisor.statistics();
              expect(disks?.find(({ id }) => id === 'swapped')?.writtenBytes).toBeGreaterThan(0);
              for (const [at, device] of plugged.entries()) {
                await vm.shell(`cd /sys/bus/pci/devices/${places[at] ?? ''} && ls -d virtio* && echo 1 > remove`);
                await vm.hypervisor.hotplugRemoveDevice(device);
              }
              expect(await vm.shell('ls /dev/vdj /dev/pmem0 /sys/class/net/eth0 2>/dev/null | wc -l')).toBe('0');
              await vm.hypervisor.hotplugRemoveDevice(swapped);
            } finally {
              execFileSync('ip', ['link', 'delete', 'fc-lab']);
            }
          },
          'strict',
        ),
      ));

    it('that are swapped in, where nothing can be plugged', () =>
      inFolder(() =>
        withVm(
          { machineType: 'mmio' },
          [],
          async (vm) => {
            const late = disk('swapped');
            await vm.hypervisor.hotplugAddDevice(late);
            expect(
              await vm.shell(
                'head -c 15 /dev/vda; printf "back" | dd of=/dev/vda bs=512 conv=notrunc 2>/dev/null; sync',
              ),
            ).toBe('this is swapped');
            expect(readFileSync(late.path).subarray(0, 4).toString()).toBe('back');
            await vm.hypervisor.hotplugRemoveDevice(late);
            expect(await vm.shell('cat /sys/block/vda/size')).toBe('0');
            expect(await codeOf(vm.hypervisor.hotplugAddDevice({ kind: 'net', id: 'n', tap: 'none' }))).toBe(
              'UNSUPPORTED',
            );
          },
          'strict',
        ),
      ));

    it('a disk that another process serves', () =>
      inFolder(async () => {
        const socket = path.join(folder, 'served.sock');
        await withServedDisk(disk('served').path, socket, async () => {
          const vm = await labMachine(firecracker, {}, 'strict');
          try {
            await vm.hypervisor.create();
            await vm.hypervisor.addDevice({ kind: 'vhost-user', id: 'served', type: 'blk', socket });
            await vm.hypervisor.start();
            expect(await vm.shell('head -c 14 /dev/vda')).toBe('this is served');
          } finally {
            await vm.discard();
          }
        });
      }));

    it('gives back what its guest has freed, and has its memory in huge pages', () =>
      withHugePages(140, () =>
        withVm({ hugePages: true, reclaimGuestFreedMemory: true }, [], async (vm) => {
          expect(hugePagesInUse()).toBeGreaterThan(0);
          expect((await vm.hypervisor.statistics()).guestMemoryBytes).toBe(256 * 2 ** 20);
        }),
      ));

    it('its metadata, served to the guest on its card', async () => {
      execFileSync('ip', ['tuntap', 'add', 'fc-mmds', 'mode', 'tap']);
      const hypervisorParams = [{ key: 'mmds', value: '{"who":"a guest"}' }];
      const vm = await labMachine(firecracker, { hypervisorParams }, 'strict');
      try {
        await vm.hypervisor.create();
        await vm.hypervisor.addDevice({ kind: 'net', id: 'card', tap: 'fc-mmds' });
        await vm.hypervisor.start();
        const ask = (lines: readonly string[]): string =>
          `printf '${[...lines, '', ''].join('\\r\\n')}' | nc 169.254.169.254 80 | tail -n 1`;
        const script = [
          'ip link set eth0 up',
          'ip addr add 169.254.1.1/16 dev eth0',
          `token=$(${ask(['PUT /latest/api/token HTTP/1.0', 'X-metadata-token-ttl-seconds: 60'])})`,
          ask(['GET /who HTTP/1.0', "X-metadata-token: '$token'"]),
        ];
        expect(await vm.shell(script.join('; '))).toBe('a guest');
      } finally {
        await vm.discard();
        execFileSync('ip', ['link', 'delete', 'fc-mmds']);
      }
    });

    it.each(['in our confinement', 'in its jail'])('%s, a disk and what it may not do', (where) =>
      inFolder(() =>
        withVm(
          where === 'in its jail' ? { jailerPath: jailer } : {},
          [disk('jailed', { readOnly: true })],
          async (vm) => {
            expect(await vm.shell('head -c 14 /dev/vda')).toBe('this is jailed');
            const pid = vm.hypervisor.process()?.pid ?? 0;
            const status = readFileSync(`/proc/${pid}/status`, 'utf8');
            expect(status).toMatch(/^Uid:\t21\d{8}\t/m);
            expect(status).toMatch(/^CapEff:\t0{16}$/m);
            expect(status).toMatch(/^Seccomp:\t2$/m);
            expect(existsSync(`/proc/${pid}/root/lab`)).toBe(false);
            const cgroup = where === 'in its jail' ? `polyvisor/${vm.context.id}` : `polyvisor-${vm.context.id}`;
            expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(`/${cgroup}\n`);
          },
          where === 'in its jail' ? 'off' : 'strict',
        ),
      ),
    );
  });

  it('firecracker: a jail whose VM and owner are gone is cleared by whoever comes, mounts and cgroups included', () =>
    inFolder(() =>
      withVm({ jailerPath: jailer }, [disk('left', { readOnly: true })], async (vm) => {
        const { id, runtimeFolder, stateFolder } = vm.context;
        await vm.hypervisor.kill();
        // As its owner's end would: a socket that listens in the jail keeps it mounted.
        await vm.hypervisor.disconnect();
        const left = (): string[] => [
          ...readFileSync('/proc/self/mountinfo', 'utf8')
            .split('\n')
            .filter((line) => line.includes(id)),
          ...readdirSync(runtimeFolder).filter((name) => existsSync(path.join(runtimeFolder, name, id))),
        ];
        expect(left()).not.toEqual([]);
        await firecracker.release?.({ id, stateFolder });
        expect(left()).toEqual([]);
      }),
    ));

  it('firecracker: builds a snapshot on the one before it', () =>
    inFolder(async () => {
      const hypervisorParams = [{ key: 'track-dirty-pages', value: '' }];
      const [first, second] = ['first', 'second'].map((name) => path.join(folder, name));
      for (const at of [first, second]) execFileSync('mkdir', [at ?? '']);
      const kept = disk('kept', { readOnly: true });
      await withVm({ hypervisorParams, memoryMiB: 128 }, [kept], async (vm) => {
        await vm.shell('echo one > /tmp/word');
        await vm.hypervisor.pause();
        await vm.hypervisor.save(first ?? '');
        await vm.hypervisor.resume();
        const again = await vm.relink();
        await again.agent.exec(['/bin/sh', '-c', 'echo two > /tmp/word']);
        await vm.hypervisor.pause();
        await vm.hypervisor.save(second ?? '', { base: first });
      });
      const vm = await labMachine(firecracker, { hypervisorParams, memoryMiB: 128 }, 'strict');
      try {
        await vm.hypervisor.create();
        await vm.hypervisor.restore(second ?? '');
        await vm.hypervisor.resume();
        expect(await vm.shell('cat /tmp/word; head -c 12 /dev/vda')).toBe('two\nthis is kept');
      } finally {
        await vm.discard();
      }
    }));

  it.each(['in our confinement', 'in its jail'])('firecracker: %s, two VMs map the memory of one snapshot', (where) =>
    inFolder(async () => {
      const saved = path.join(folder, 'saved');
      mkdirSync(saved, { mode: 0o700 });
      const [change, level] =
        where === 'in its jail'
          ? ([{ jailerPath: jailer, memoryMiB: 128 }, 'off'] as const)
          : ([{ memoryMiB: 128 }, 'strict'] as const);
      await withVm(
        change,
        [],
        async (vm) => {
          await vm.shell('echo shared > /tmp/word');
          await vm.hypervisor.pause();
          await vm.hypervisor.save(saved);
        },
        level,
      );
      const { ino } = statSync(path.join(saved, 'firecracker.mem'));
      const clones: LabMachine[] = [];
      try {
        for (const word of ['one', 'two']) {
          const clone = await labMachine(firecracker, change, level);
          clones.push(clone);
          await clone.hypervisor.create();
          await clone.hypervisor.restore(saved);
          await clone.hypervisor.resume();
          expect(await clone.shell(`cat /tmp/word; echo ${word} > /tmp/word; cat /tmp/word`)).toBe(`shared\n${word}`);
          const maps = readFileSync(`/proc/${clone.hypervisor.process()?.pid}/maps`, 'utf8').split('\n');
          const own = maps.filter((line) => line.split(/\s+/)[4] === `${ino}`);
          expect(own.length).toBeGreaterThan(0);
          for (const line of own) expect(line).toMatch(/^\S+ rw-p/);
        }
      } finally {
        for (const clone of clones) await clone.discard();
      }
    }),
  );

  it('firecracker: in its jail, and in a network namespace', async () => {
    const name = 'fc-lab-net';
    execFileSync('ip', ['netns', 'add', name]);
    const networkNamespace = `/run/netns/${name}`;
    const vm = await labMachine(firecracker, { jailerPath: jailer }, 'off', { networkNamespace });
    try {
      execFileSync('ip', ['-n', name, 'tuntap', 'add', 'fc-in', 'mode', 'tap']);
      await vm.hypervisor.create();
      await vm.hypervisor.addDevice({ kind: 'net', id: 'card', tap: 'fc-in', mac: '02:00:00:00:00:09' });
      await vm.hypervisor.start();
      expect(await vm.shell('cat /sys/class/net/eth0/address')).toBe('02:00:00:00:00:09');
      expect(statSync(`/proc/${vm.hypervisor.process()?.pid ?? 0}/ns/net`).ino).toBe(statSync(networkNamespace).ino);
    } finally {
      await vm.discard();
      execFileSync('ip', ['netns', 'delete', name]);
    }
  });

  it('firecracker: a tap that is busy', async () => {
    execFileSync('ip', ['tuntap', 'add', 'fc-busy', 'mode', 'tap']);
    const [one, two] = [await labMachine(firecracker, {}, 'strict'), await labMachine(firecracker, {}, 'strict')];
    try {
      for (const vm of [one, two]) {
        await vm.hypervisor.create();
        await vm.hypervisor.addDevice({ kind: 'net', id: 'n', tap: 'fc-busy' });
      }
      await one.hypervisor.start();
      expect(await codeOf(two.hypervisor.start())).toBe('START_FAILED');
      const left = two.hypervisor.process();
      expect(left !== undefined && isAlive(left)).toBe(false);
    } finally {
      await two.discard();
      await one.discard();
      execFileSync('ip', ['link', 'delete', 'fc-busy']);
    }
  });
}
