import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Device } from '../../../src/hypervisors/device.ts';
import { qemu } from '../../../src/hypervisors/qemu/index.ts';
import { codeOf } from '../../fakes/failure.ts';
import { keepsAcrossTests } from '../../support/leaks.ts';
import { type LabMachine, labMachine } from '../machine.ts';

/*
 * What QEMU needs of its host that an ordinary one may lack: an IOMMU with a device to spare, and vhost-vsock.
 */

const pciDevices = '/sys/bus/pci/devices';
const diskSize = 16;

// Buses, sockets of the guest's agent and devices of the jail stay with their VM.
keepsAcrossTests('file', /\/devices\.json|\/jail\//);

/** PCI address of the lab's spare disk, the one that is NVMe. */
function spareDisk(): string {
  const isNvme = (address: string): boolean =>
    readFileSync(path.join(pciDevices, address, 'class'), 'utf8').startsWith('0x010802');
  return readdirSync(pciDevices).find(isNvme) ?? '';
}

/** Hands a device of the lab to another driver. */
function bind(address: string, driver: string): void {
  const device = path.join(pciDevices, address);
  writeFileSync(path.join(device, 'driver', 'unbind'), address);
  writeFileSync(path.join(device, 'driver_override'), driver);
  writeFileSync('/sys/bus/pci/drivers_probe', address);
}

/** The disk, as the lab's own driver shows it: that takes a moment after it was bound. */
async function ownDisk(address: string): Promise<string> {
  for (;;) {
    const controllers = path.join(pciDevices, address, 'nvme');
    const [controller = ''] = existsSync(controllers) ? readdirSync(controllers) : [];
    const node = `/dev/${controller}n1`;
    if (controller !== '' && existsSync(node)) return node;
    await sleep(20);
  }
}

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
  const handThrough = async ({ hypervisor, link, shell }: LabMachine, bus: RegExp): Promise<void> => {
    const address = spareDisk();
    const device: Device = { kind: 'vfio', id: 'nvme', address };
    expect(await codeOf(hypervisor.hotplugAddDevice(device))).toBe('INVALID_ARGUMENT');
    writeFileSync(await ownDisk(address), Buffer.alloc(diskSize, 'from the host: 1'));
    bind(address, 'vfio-pci');
    try {
      expect((await hypervisor.hotplugAddDevice(device)).guestPath).toMatch(bus);
      // The default guest has no driver for it.
      const { agent } = await link();
      for (const name of readdirSync('/lab/modules')
        .filter((file) => /^(crc64|t10|nvme)/.test(file))
        .toSorted()) {
        const module = readFileSync(path.join('/lab/modules', name));
        const load = agent.exec(['sh', '-c', 'cat >/tmp/module && insmod /tmp/module'], { stdin: 'pipe' });
        load.stdin?.end(module);
        expect(await load, name).toMatchObject({ exitCode: 0 });
      }
      expect(await shell('until [ -b /dev/nvme0n1 ]; do sleep 0.1; done; head -c 16 /dev/nvme0n1')).toBe(
        'from the host: 1',
      );
      await shell('printf "from the guest:2" | dd of=/dev/nvme0n1 conv=notrunc 2>/dev/null; sync');
      await hypervisor.hotplugRemoveDevice(device);
      expect(await shell('ls /sys/block')).toBe('');
    } finally {
      bind(address, 'nvme');
    }
    expect(
      readFileSync(await ownDisk(address))
        .subarray(0, diskSize)
        .toString(),
    ).toBe('from the guest:2');
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
  });
}
