import { expect, it } from 'vitest';
import { agentBinary } from '../../../src/config/package-files.ts';
import { hypervisorTypes } from '../../../src/config/hypervisor-type.ts';
import { VmError } from '../../../src/errors.ts';
import { doctor } from '../../../src/sandbox/doctor.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { fakeQemu, scratch } from '../../fakes/programs.ts';

const at = scratch();

/**
 * How far `create` comes with a hypervisor here. What is booted is no kernel, so that a VMM that is there and works refuses it at
 * START: a real boot of each that works is the matter of test/vm.
 */
const outcome = async (hypervisor: string): Promise<string> => {
  const guest =
    hypervisor === 'mock' ? {} : { kernel: agentBinary, initrd: agentBinary, accel: 'tcg' as const, memoryMiB: 64 };
  try {
    const vm = await Vm.create({ hypervisor, startTimeoutMs: 2000, ...guest });
    await vm.remove();
    return 'runs';
  } catch (error) {
    return VmError.from(error).code;
  }
};

it.each([...hypervisorTypes])('says of %s what create then does', async (type) => {
  const report = (await doctor()).hypervisors.find((one) => one.type === type);
  const code = await outcome(type);
  const reachesTheVmm = ['runs', 'START_FAILED', 'START_TIMEOUT', 'GUEST_PANICKED'].includes(code);
  expect({ type, usable: report?.usable, code }).toEqual({ type, usable: reachesTheVmm, code });
  if (report?.usable === true)
    expect(report).toMatchObject({
      path: expect.stringMatching(/^\//) as string,
      version: expect.stringMatching(/^\d/) as string,
    });
  else expect(report?.findings.length).toBeGreaterThan(0);
});

it('gives advice with every problem, and changes nothing', async () => {
  const { hypervisors, host, kvm } = await doctor();
  expect(hypervisors.map(({ type }) => type)).toEqual([...hypervisorTypes]);
  for (const { problem, advice } of hypervisors.flatMap(({ findings }) => findings)) {
    expect(problem).not.toBe('');
    expect(advice).not.toBe('');
  }
  expect(host.memoryMiB).toBeGreaterThan(0);
  expect(kvm.reason).not.toBe('');
});

it('says that QEMU is missing when it is, and create says the same', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = at.folder;
  try {
    const qemu = (await doctor()).hypervisors.find(({ type }) => type === 'qemu');
    expect(qemu).toMatchObject({ usable: false });
    expect(qemu?.findings[0]?.advice).toContain('apt install');
    expect(await outcome('qemu')).toBe('HYPERVISOR_NOT_FOUND');
  } finally {
    process.env['PATH'] = path;
  }
});

it('says that QEMU is too old when it is, and create says the same', async () => {
  const program = process.arch === 'x64' ? 'qemu-system-x86_64' : 'qemu-system-aarch64';
  const { symlinkSync } = await import('node:fs');
  symlinkSync(fakeQemu(at, '5.2.0'), at.file(program));
  const path = process.env['PATH'];
  process.env['PATH'] = `${at.folder}:${path}`;
  try {
    const qemu = (await doctor()).hypervisors.find(({ type }) => type === 'qemu');
    expect(qemu).toMatchObject({ usable: false, version: '5.2.0', path: at.file(program) });
    expect(await outcome('qemu')).toBe('HYPERVISOR_TOO_OLD');
  } finally {
    process.env['PATH'] = path;
  }
});
