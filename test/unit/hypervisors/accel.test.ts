import { chmodSync, mkdirSync, symlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { HostFacts } from '../../../src/config/host.ts';
import {
  accelOfForeign,
  decideAccel,
  judgeKvm,
  type KvmEvidence,
  type KvmVerdict,
} from '../../../src/hypervisors/accel.ts';
import { failure } from '../../fakes/failure.ts';
import { scratch } from '../../fakes/programs.ts';
import { host } from './fixture.ts';

const at = scratch();
const arm: HostFacts = { ...host, arch: 'arm64' };

/** Evidence of a host with these CPU flags and modules. */
const evidence = (flags: string, modules: readonly string[]): KvmEvidence => {
  mkdirSync(at.file('modules'), { recursive: true });
  for (const name of modules) mkdirSync(at.file(`modules/${name}`));
  return {
    device: at.write('kvm', ''),
    cpuinfo: at.write('cpuinfo', `processor\t: 0\nflags\t\t: ${flags}\nbugs\t\t: vmx svm\n`),
    modules: at.file('modules'),
  };
};

describe('judging KVM', () => {
  it.each([
    ['fpu vmx sse', ['kvm', 'kvm_intel'], 'usable'],
    ['fpu svm sse', ['kvm', 'kvm_amd'], 'usable'],
    // A kernel may have them built in, or another module may serve the device.
    ['fpu vmx sse', [], 'doubtful'],
    ['fpu vmx', ['kvm', 'kvm_pvm'], 'doubtful'],
    ['fpu sse', ['kvm', 'kvm_pvm'], 'broken'],
    ['fpu sse', ['kvm'], 'doubtful'],
    // Words that only contain the names of the flags say nothing.
    ['fpu vmx_like notsvm', ['kvm', 'kvm_pvm'], 'broken'],
  ])('flags %j and modules %j: %s', async (flags, modules, state) => {
    const verdict = await judgeKvm(host, evidence(flags, modules));
    expect(verdict.state).toBe(state);
    expect(verdict.reason).not.toMatch(/^$|\.$/);
  });

  it('names the module that hangs guests', async () => {
    expect((await judgeKvm(host, evidence('fpu', ['kvm_pvm']))).reason).toContain('kvm_pvm');
  });

  it('no device is broken', async () => {
    const seen = { ...evidence('vmx', ['kvm_intel']), device: at.file('nothing') };
    expect(await judgeKvm(host, seen)).toMatchObject({
      state: 'broken',
      reason: expect.stringContaining('does not exist') as string,
    });
  });

  it('a device that this user may not open is broken', async () => {
    const seen = evidence('vmx', ['kvm_intel']);
    // Root may open everything that can be opened, so it gets a link to itself.
    if (process.getuid?.() === 0) symlinkSync(at.file('loop'), at.file('loop'));
    else chmodSync(seen.device, 0o000);
    const device = process.getuid?.() === 0 ? at.file('loop') : seen.device;
    const verdict = await judgeKvm(host, { ...seen, device });
    expect(verdict).toMatchObject({ state: 'broken', reason: expect.stringContaining('may not be opened') as string });
  });

  it('on arm64 only a boot can tell', async () => {
    expect(await judgeKvm(arm, evidence('', []))).toMatchObject({ state: 'doubtful' });
  });
});

it('a guest of another architecture is emulated, and KVM can not be asked for', () => {
  expect(accelOfForeign('tcg', host, 'arm64')).toEqual({ accel: 'tcg' });
  expect(accelOfForeign('auto', host, 'arm64')).toEqual({
    accel: 'tcg',
    notice: 'a guest of arm64 on amd64: using TCG, which is slower',
  });
  expect(() => accelOfForeign('kvm', host, 'arm64')).toThrow(/^ACCEL_UNUSABLE: .*\(amd64\) only, not of arm64/);
});

describe('deciding', () => {
  const trial = (state: KvmVerdict['state']) => (): Promise<KvmVerdict> =>
    Promise.resolve({ state, reason: 'it was tried' });
  const untried = (): Promise<KvmVerdict> => Promise.reject(new Error('a trial was not needed'));

  it('TCG is TCG, and trusted KVM is KVM, whatever the host shows', async () => {
    expect(await decideAccel('tcg', host, false, untried)).toEqual({ accel: 'tcg' });
    expect(await decideAccel('kvm', host, true, untried)).toEqual({ accel: 'kvm' });
  });

  it('this host gets KVM when it works, and TCG with one line when not', async () => {
    const seen = await judgeKvm(host);
    const decision = await decideAccel('auto', host, false, trial('broken'));
    if (seen.state === 'usable') expect(decision).toEqual({ accel: 'kvm' });
    else
      expect(decision).toMatchObject({
        accel: 'tcg',
        notice: expect.stringMatching(/^no KVM \(.+\): using TCG, which is slower$/) as string,
      });
  });

  it('KVM that was asked for and does not work is an error with advice', async () => {
    const seen = await judgeKvm(host);
    const call = decideAccel('kvm', host, false, trial('broken'));
    if (seen.state === 'usable') expect(await call).toEqual({ accel: 'kvm' });
    else
      expect(await failure(call)).toMatchObject({
        code: 'ACCEL_UNUSABLE',
        facts: { field: 'accel' },
        advice: expect.stringContaining('tcg') as string,
      });
  });

  it('a trial settles doubt', async () => {
    const seen = await judgeKvm(host);
    if (seen.state === 'doubtful')
      expect(await decideAccel('auto', host, false, trial('usable'))).toEqual({ accel: 'kvm' });
    // Where the host itself says enough no guest is booted for it.
    else expect(await decideAccel('auto', host, false, untried)).toHaveProperty('accel');
  });
});
