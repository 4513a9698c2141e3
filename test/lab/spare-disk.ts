import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Device } from '../../src/hypervisors/device.ts';
import type { LabMachine } from './machine.ts';

/*
 * The disk that the lab has to spare, behind its IOMMU: NVMe, to be handed through to a guest.
 */

const pciDevices = '/sys/bus/pci/devices';
const textSize = 16;

/** It, as a device for a guest. */
export function spareDisk(): Device & { kind: 'vfio' } {
  const isNvme = (address: string): boolean =>
    readFileSync(path.join(pciDevices, address, 'class'), 'utf8').startsWith('0x010802');
  const address = readdirSync(pciDevices).find(isNvme) ?? '';
  return { kind: 'vfio', id: 'nvme', address };
}

/**
 * Has a guest use the spare disk: what the host wrote there is read by the guest, and what that wrote is there afterwards.
 * @param use is called while it is bound to vfio-pci; no VM may have it in the end, however that comes, or this waits for ever
 */
export async function withSpareDisk(use: () => Promise<void>): Promise<void> {
  const { address } = spareDisk();
  writeFileSync(await ownDisk(address), Buffer.alloc(textSize, 'from the host: 1'));
  bind(address, 'vfio-pci');
  try {
    await use();
  } finally {
    bind(address, 'nvme');
  }
  const text = readFileSync(await ownDisk(address)).subarray(0, textSize);
  expect(text.toString()).toBe('from the guest:2');
}

/** What the guest does with it. */
export async function useInGuest({ link, shell }: LabMachine): Promise<void> {
  // The default guest has no driver for it; that of the lab's kernel is of the same package.
  const { agent } = await link();
  const modules = readdirSync('/lab/modules').filter((file) => /^(crc64|t10|nvme)/.test(file));
  for (const name of modules.toSorted()) {
    const load = agent.exec(['sh', '-c', 'cat >/tmp/module && insmod /tmp/module'], { stdin: 'pipe' });
    load.stdin?.end(readFileSync(path.join('/lab/modules', name)));
    expect(await load, name).toMatchObject({ exitCode: 0 });
  }
  expect(await shell('until [ -b /dev/nvme0n1 ]; do sleep 0.1; done; head -c 16 /dev/nvme0n1')).toBe(
    'from the host: 1',
  );
  await shell('printf "from the guest:2" | dd of=/dev/nvme0n1 conv=notrunc 2>/dev/null; sync');
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
