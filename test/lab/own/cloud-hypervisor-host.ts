import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cloudHypervisor } from '../../../src/hypervisors/cloud-hypervisor/index.ts';
import type { BlockDevice } from '../../../src/hypervisors/device.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { itGivesMemoryBack, itLimitsDisks, withStarted, type WithVm } from '../figures.ts';
import { withHugePages, withServedCard } from '../host-side.ts';
import { type LabMachine, labMachine } from '../machine.ts';
import { spareDisk, useInGuest, withSpareDisk } from '../spare-disk.ts';

/*
 * What Cloud Hypervisor needs of its host that an ordinary one may lack: an IOMMU with a device to spare, another process that serves a
 * network card, and a kernel with Landlock.
 */

export function describeHostDevices(): void {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-lab-clh-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const disk = (...place: string[]): BlockDevice => {
    const file = path.join(folder, ...place);
    writeFileSync(file, 'this is a disk');
    truncateSync(file, 4 * 2 ** 20);
    chmodSync(file, 0o666);
    return { kind: 'block', id: path.basename(file), path: file, format: 'raw', readOnly: false };
  };
  const withVm = async (vm: LabMachine, use: () => Promise<void>): Promise<void> => {
    try {
      await vm.hypervisor.create();
      await use();
    } finally {
      await vm.discard();
    }
  };

  describe('clh: a disk of the host, handed through to a confined VM', () => {
    it('while it runs, and back', () =>
      withSpareDisk(async () => {
        const vm = await labMachine(cloudHypervisor, {}, 'strict');
        await withVm(vm, async () => {
          await vm.hypervisor.start();
          const { guestPath = '' } = await vm.hypervisor.hotplugAddDevice(spareDisk());
          expect(await vm.shell(`cat /sys/bus/pci/devices/${guestPath}/class`)).toBe('0x010802');
          await useInGuest(vm);
          await vm.hypervisor.hotplugRemoveDevice(spareDisk());
          expect(await vm.shell(`ls /sys/block; ls -d /sys/bus/pci/devices/${guestPath} 2>/dev/null || true`)).toBe('');
        });
      }));

    it('from the start', () =>
      withSpareDisk(async () => {
        const vm = await labMachine(cloudHypervisor, {}, 'strict');
        await withVm(vm, async () => {
          await vm.hypervisor.addDevice(spareDisk());
          await vm.hypervisor.start();
          await useInGuest(vm);
        });
      }));
  });

  describe('clh: figures', () => {
    const withVm: WithVm = (change, cold, use) => withStarted(cloudHypervisor, change, cold, use);
    itGivesMemoryBack(withVm);
    itLimitsDisks(withVm);
  });

  it('clh: a network card that another process serves, plugged into a confined VM and at the start', async () => {
    const socket = path.join(folder, 'card.sock');
    const card = { kind: 'vhost-user', id: 'served', type: 'net', socket, mac: '02:00:00:00:00:55' } as const;
    const pinged =
      'until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; cat /sys/class/net/eth0/address; ' +
      'ip addr add 10.9.0.1/24 dev eth0; ip link set eth0 up; ping -c 2 -W 30 10.9.0.2 | grep -o "2 packets received"';
    const answer = `${card.mac}\n2 packets received`;
    for (const when of ['later', 'at the start'])
      await withHugePages(140, async () => {
        const served = { enableVhostUserStore: true, vhostUserStorePath: folder, hugePages: true };
        const vm = await labMachine(cloudHypervisor, served, 'strict');
        await withVm(vm, () =>
          withServedCard(socket, async () => {
            if (when === 'at the start') await vm.hypervisor.addDevice(card);
            await vm.hypervisor.start();
            if (when === 'later') await vm.hypervisor.hotplugAddDevice(card);
            expect(await vm.shell(pinged), when).toBe(answer);
            if (when === 'at the start') return;
            await vm.hypervisor.hotplugRemoveDevice(card);
            expect(await vm.shell('ls /sys/class/net')).toBe('lo');
          }),
        );
      });
  });

  it('clh: a tap that another VM has, at the start and later, and a disk that the host has', async () => {
    execFileSync('ip', ['tuntap', 'add', 'clh-busy', 'mode', 'tap']);
    execFileSync('ip', ['link', 'set', 'clh-busy', 'up']);
    const card = { kind: 'net', id: 'n', tap: 'clh-busy' } as const;
    const [one, two, three] = [
      await labMachine(cloudHypervisor),
      await labMachine(cloudHypervisor, {}, 'strict'),
      await labMachine(cloudHypervisor, {}, 'strict'),
    ];
    try {
      for (const vm of [one, two, three]) await vm.hypervisor.create();
      for (const vm of [one, two]) await vm.hypervisor.addDevice(card);
      await one.hypervisor.start();
      const refused = await failure(two.hypervisor.start());
      expect([refused.code, refused.advice]).toEqual(['START_FAILED', expect.stringContaining('one VM at a time')]);
      expect(await two.hypervisor.pids()).toEqual([]);
      await three.hypervisor.start();
      expect(await codeOf(three.hypervisor.hotplugAddDevice(card))).toBe('VMM_FAILED');
      // The lab's own driver has it.
      expect(await codeOf(three.hypervisor.hotplugAddDevice(spareDisk()))).toBe('INVALID_ARGUMENT');
      expect(await three.shell('ls /sys/class/net')).toBe('lo');
      await one.hypervisor.check();
    } finally {
      for (const vm of [three, two, one]) await vm.discard();
      execFileSync('ip', ['link', 'delete', 'clh-busy']);
    }
  });

  it('clh: Landlock, where the kernel has what Cloud Hypervisor needs of it: it opens what its rules name and nothing else', async () => {
    const [inside, saved] = ['inside', 'saved'].map((name) => path.join(folder, name)) as [string, string];
    for (const at of [inside, saved]) mkdirSync(at);
    const hypervisorParams = [
      { key: 'landlock', value: '' },
      { key: 'landlock-rules', value: `path=${inside},access=rw` },
    ];
    const vm = await labMachine(cloudHypervisor, { hypervisorParams });
    await withVm(vm, async () => {
      const [major = 0, minor = 0] = release().split('.').map(Number);
      if (major < 6 || (major === 6 && minor < 2)) {
        const { code, advice } = await failure(vm.hypervisor.start());
        expect([code, advice]).toEqual(['START_FAILED', expect.stringContaining('needs Linux 6.2')]);
        return;
      }
      await vm.hypervisor.start();
      expect(await vm.shell('echo up')).toBe('up');
      const { advice, rawMessage } = await failure(vm.hypervisor.hotplugAddDevice(disk('outside')));
      expect([rawMessage, advice]).toEqual([
        expect.stringMatching(/Permission denied/),
        expect.stringContaining('landlock-rules'),
      ]);
      const allowed = disk('inside', 'allowed');
      await vm.hypervisor.hotplugAddDevice(allowed);
      expect(await vm.shell('head -c 14 /dev/vda')).toBe('this is a disk');
      await vm.hypervisor.hotplugRemoveDevice(allowed);
      await vm.hypervisor.pause();
      await vm.hypervisor.save(saved);
    });
    if (!existsSync(path.join(saved, 'state.json'))) return;
    const restored = await labMachine(cloudHypervisor, { hypervisorParams });
    await withVm(restored, async () => {
      await restored.hypervisor.restore(saved);
      await restored.hypervisor.resume();
      expect(await restored.shell('echo again')).toBe('again');
      expect(await codeOf(restored.hypervisor.hotplugAddDevice(disk('outside')))).toBe('VMM_FAILED');
    });
  });
}
