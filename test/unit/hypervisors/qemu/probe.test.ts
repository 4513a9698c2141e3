import { expect, it } from 'vitest';
import { startFailure } from '../../../../src/hypervisors/qemu/errors.ts';
import { probe } from '../../../../src/hypervisors/qemu/probe.ts';
import { parseState } from '../../../../src/hypervisors/qemu/state.ts';
import { usableBinary } from '../../../../src/hypervisors/vmm-process.ts';
import { fakeQemu, scratch } from '../../../fakes/programs.ts';
import { host } from '../fixture.ts';

const at = scratch();

it.each([
  ['5.2.0', false],
  ['6.1.9', false],
  ['6.2', true],
  ['6.2.0', true],
  ['7.2.22', true],
  ['10.0.0', true],
])('QEMU %s is usable: %s', async (version, usable) => {
  const path = fakeQemu(at, version);
  const verdict = await probe(host, path);
  expect(verdict).toMatchObject({ usable, path, version });
  if (!usable) expect(() => usableBinary(verdict)).toThrow(/^HYPERVISOR_TOO_OLD: .*6\.2/);
  else expect(usableBinary(verdict)).toBe(path);
});

it.each([
  ['that says nothing', 'exit 0'],
  ['that fails', 'echo broken >&2; exit 127'],
  ['that is something else', 'echo "Firecracker v1.7.0"'],
  ['that says too much', 'yes "QEMU emulator version 8.0.0"'],
])('a program %s is not found to be QEMU', async (_, text) => {
  const verdict = await probe(host, at.script('qemu', text));
  expect(verdict.usable).toBe(false);
  expect(() => usableBinary(verdict)).toThrow(/^HYPERVISOR_NOT_FOUND/);
  expect(verdict.findings[0]?.advice).not.toBe('');
});

it('the program is looked for by the architecture, in the PATH alone', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = `:${at.folder}:relative`;
  try {
    expect(await probe(host)).toEqual({
      usable: false,
      findings: [{ problem: 'qemu-system-x86_64 is not on the PATH', advice: expect.any(String) as string }],
    });
    expect((await probe({ ...host, arch: 'arm64' })).findings[0]?.problem).toContain('qemu-system-aarch64');
    const foreign = (await probe(host, undefined, 'arm64')).findings[0];
    expect(foreign?.problem).toContain('qemu-system-aarch64');
    expect(foreign?.advice).toContain('qemu-system-arm`');
    at.write('qemu-system-x86_64', 'not executable', 0o644);
    expect((await probe(host)).usable).toBe(false);
  } finally {
    process.env['PATH'] = path;
  }
});

it.each([
  ['Could not access KVM kernel module: Permission denied', /--accel tcg/],
  ['qemu: cannot set up guest memory: Cannot allocate memory', /less memory/],
  ['qemu: -nonsense: invalid option', /hypervisorParams/],
  ['qemu: unsupported machine type', /-machine help/],
  ["qemu: unable to find CPU model 'z80'", /-cpu help/],
  ['could not load PVH', /bzImage/],
  [
    "../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.",
    /accel tcg/,
  ],
])('%j leads to advice', (line, advice) => {
  const error = startFailure({ code: 1 }, `first line\n${line}\n`);
  expect(error).toMatchObject({ code: 'START_FAILED', facts: { exitCode: 1 } });
  expect(error.rawMessage).toContain(line);
  expect(error.advice).toMatch(advice);
});

it('an end without words is told by its code or its signal', () => {
  expect(startFailure({ code: 3 }, '').rawMessage).toBe('QEMU ended with exit code 3 before it answered');
  expect(startFailure({ signal: 'SIGSEGV' }, '').rawMessage).toBe('QEMU ended by SIGSEGV before it answered');
});

it.each([
  undefined,
  null,
  [],
  {},
  'text',
  { schema: 2, binary: '/q' },
  { schema: 1 },
  { schema: 1, binary: '/q', process: { pid: 0 } },
  { schema: 1, binary: '/q', process: { pid: 1 } },
  { schema: 1, binary: '/q', process: 'me' },
])('%j is no state of ours', (state) => {
  expect(() => parseState(state)).toThrow(/^STATE_INVALID/);
});
