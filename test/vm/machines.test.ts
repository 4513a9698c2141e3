import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Vm } from '../../src/sandbox/vm.ts';
import { withGuest } from './guest.ts';

/*
 * What a machine can be made of beside its devices, asked of its guest and of the host's kernel.
 */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'machines-'));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

const sh = async (vm: Vm, script: string): Promise<string> =>
  (await vm.exec(['sh', '-c', script], { check: true })).stdout.trim();

/** A field of /proc/PID/status in KiB. */
function status(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

it('NUMA nodes, an IOMMU, memory given at once, a balloon, and SeaBIOS by its name', async () => {
  const firmware = '/usr/share/seabios/bios-256k.bin';
  const memory = { memPrealloc: true, reclaimGuestFreedMemory: true } as const;
  const cpus = { vcpus: 2, maxVcpus: 2, numaMapping: ['0', '0'] };
  await withGuest({ ...memory, ...cpus, memoryMiB: 256, iommu: true, firmware }, async (vm) => {
    expect(await sh(vm, 'cd /sys/devices/system/node; ls -d node*; cat node0/cpulist node1/cpulist')).toBe(
      'node0\nnode1\n0\n1',
    );
    expect(await sh(vm, 'cat /sys/devices/system/cpu/cpu*/topology/physical_package_id')).toBe('0\n1');
    expect(await sh(vm, 'ls /sys/class/iommu; ls /sys/kernel/iommu_groups | wc -l')).toMatch(/^dmar0\n[1-9]\d*$/);
    expect(await sh(vm, 'cat /sys/bus/virtio/devices/*/device')).toContain('0x0005');
    const [pid = 0] = (await vm.inspect()).pids;
    // All of the guest's memory is there, whatever the guest has touched of it.
    expect(status(pid, 'VmRSS')).toBeGreaterThan(256 << 10);
  });
});

it('UEFI in flash, and memory in a file that others can map', async () => {
  const vars = path.join(folder, 'vars.fd');
  const code = '/usr/share/OVMF/OVMF_CODE_4M.fd';
  expect(existsSync(code), 'Debian has it in the package ovmf').toBe(true);
  copyFileSync('/usr/share/OVMF/OVMF_VARS_4M.fd', vars);
  chmodSync(vars, 0o666);
  const before = readFileSync(vars);
  const shared = mkdtempSync('/dev/shm/polyvisor-');
  chmodSync(shared, 0o777);
  try {
    await withGuest({ memoryMiB: 256, pflash: [code, vars], fileBackedMemRootDir: shared }, async (vm) => {
      expect(await sh(vm, 'ls -d /sys/firmware/efi; ls /sys/firmware/dmi/tables')).toMatch(/^\/sys\/firmware\/efi/);
      const [pid = 0] = (await vm.inspect()).pids;
      // A file without a name by now, which all of the guest's memory is in.
      expect(status(pid, 'RssShmem')).toBeGreaterThan(64 << 10);
    });
    // What the firmware keeps is kept.
    expect(readFileSync(vars).equals(before)).toBe(false);
  } finally {
    rmSync(shared, { recursive: true });
  }
});
