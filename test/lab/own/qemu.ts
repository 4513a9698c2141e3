import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Device } from '../../../src/hypervisors/device.ts';
import { contextIds } from '../../../src/hypervisors/qemu/control-context-id.ts';
import { qemu } from '../../../src/hypervisors/qemu/index.ts';
import { codeOf } from '../../fakes/failure.ts';
import { keepsAcrossTests } from '../../support/leaks.ts';
import { type LabMachine, labMachine } from '../machine.ts';
import { spareDisk, useInGuest, withSpareDisk } from '../spare-disk.ts';

/*
 * What QEMU needs of its host that an ordinary one may lack: an IOMMU with a device to spare, and vhost-vsock.
 */

// Buses, sockets of the guest's agent and devices of the jail stay with their VM.
keepsAcrossTests('file', /\/devices\.json|\/jail\//);

export function describeOwn(): void {
  let vm: LabMachine;
  beforeAll(async () => {
    vm = await labMachine(qemu, { maxVcpus: 2, hotplugVfioOnRootBus: true, pcieRootPorts: 2 }, 'strict');
    await vm.hypervisor.create();
    await vm.hypervisor.start();
    await vm.link();
  });
  afterAll(() => vm.discard());

  /** Hands the spare disk to a guest that runs, which reads and writes it and gives it back. */
  const handThrough = async (machine: LabMachine, bus: RegExp): Promise<void> => {
    const device = spareDisk();
    const { hypervisor, shell } = machine;
    expect(await codeOf(hypervisor.hotplugAddDevice(device))).toBe('INVALID_ARGUMENT');
    const use = async (): Promise<void> => {
      expect((await hypervisor.hotplugAddDevice(device)).guestPath).toMatch(bus);
      await useInGuest(machine);
      await hypervisor.hotplugRemoveDevice(device);
      expect(await shell('ls /sys/block')).toBe('');
    };
    await withSpareDisk(async () => {
      try {
        await use();
      } catch (error) {
        // The disk can't be taken from a VM that still has it.
        await hypervisor.kill();
        throw error;
      }
    });
  };

  it('qemu: hands a disk of the host through, on a root port', async () => handThrough(vm, /^0[89]\/00$/));

  describe('qemu: a vsock', () => {
    it('has a context id of its own, which no second VM gets; that one has the disk on a bridge', async () => {
      const { hypervisor } = vm;
      await hypervisor.hotplugAddDevice({ kind: 'vsock', id: 'theirs', contextId: 4242 });
      const local = 'ls -l /dev/vsock >/dev/null && ls /sys/bus/virtio/drivers/*vsock*';
      expect(await vm.shell(local)).toMatch(/virtio\d/);
      const other = await labMachine(qemu, {}, 'strict');
      try {
        await other.hypervisor.create();
        await other.hypervisor.start();
        await other.link();
        const taken: Device = { kind: 'vsock', id: 'mine', contextId: 4242 };
        expect(await codeOf(other.hypervisor.hotplugAddDevice(taken))).toBe('BUSY');
        await other.hypervisor.hotplugAddDevice({ kind: 'vsock', id: 'mine' });
        // This VM was not made for it: that its memory may be locked is seen to when it comes.
        await handThrough(other, /^02\//);
      } finally {
        await other.discard();
      }
      await hypervisor.hotplugRemoveDevice({ kind: 'vsock', id: 'theirs', contextId: 4242 });
    });

    it('at the start gets another context id when the one that was chosen is taken, but not when it was given', async () => {
      const { hypervisor } = vm;
      await hypervisor.hotplugAddDevice({ kind: 'vsock', id: 'theirs', contextId: 4243 });
      const choose = vi.spyOn(contextIds, 'choose');
      choose.mockReturnValueOnce(4243).mockReturnValueOnce(4243);
      const chosen = await labMachine(qemu, {}, 'strict');
      try {
        await chosen.hypervisor.create();
        await chosen.hypervisor.addDevice({ kind: 'vsock', id: 'mine' });
        await chosen.hypervisor.start();
        await chosen.link();
        expect(choose).toHaveBeenCalledTimes(3);
        expect(await chosen.shell('ls /sys/bus/virtio/drivers/*vsock*')).toMatch(/virtio\d/);
      } finally {
        choose.mockRestore();
        await chosen.discard();
      }
      const given = await labMachine(qemu, {}, 'strict');
      try {
        await given.hypervisor.create();
        await given.hypervisor.addDevice({ kind: 'vsock', id: 'mine', contextId: 4243 });
        expect(await codeOf(given.hypervisor.start())).toBe('START_FAILED');
      } finally {
        await given.discard();
      }
      await hypervisor.hotplugRemoveDevice({ kind: 'vsock', id: 'theirs', contextId: 4243 });
    });
  });
}
