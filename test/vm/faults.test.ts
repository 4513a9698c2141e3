import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmError } from '../../src/errors.ts';
import { judgeKvm } from '../../src/hypervisors/accel.ts';
import { doctor } from '../../src/sandbox/doctor.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { places } from '../../src/state/paths.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { fakeQemu, scratch } from '../fakes/programs.ts';

const at = scratch();

/** The refusal of a VM with real QEMU and the default guest; nothing of it may be left. */
const refusal = async (options: VmOptions): Promise<VmError> => {
  const error = await failure(Vm.create({ accel: 'tcg', memoryMiB: 256, name: 'faulty', ...options }));
  expect(readdirSync(places().vms)).toEqual([]);
  expect(readdirSync(places().runtime)).toEqual([]);
  return error;
};

const kernelParams = (text: string): { key: string; value: string }[] =>
  text.split(' ').map((word) => ({ key: word.split('=')[0] ?? '', value: word.split('=')[1] ?? '' }));

describe('a QEMU', () => {
  it('that is missing', async () => {
    expect(await refusal({ hypervisorPath: at.file('nothing') })).toMatchObject({ code: 'HYPERVISOR_NOT_FOUND' });
    const path = process.env['PATH'];
    try {
      for (const empty of ['', at.folder]) {
        process.env['PATH'] = empty;
        expect(await refusal({})).toMatchObject({
          code: 'HYPERVISOR_NOT_FOUND',
          advice: expect.stringContaining('apt install') as string,
        });
      }
    } finally {
      process.env['PATH'] = path;
    }
  });

  it('that is too old', async () => {
    const error = await refusal({ hypervisorPath: fakeQemu(at, '5.2.0') });
    expect(error).toMatchObject({ code: 'HYPERVISOR_TOO_OLD', facts: { name: 'faulty' } });
    expect(error.rawMessage).toContain('5.2.0');
  });

  it('that dies at once', async () => {
    const error = await refusal({ hypervisorPath: fakeQemu(at, '8.2.0', 'echo "qemu: out of luck" >&2; exit 1') });
    expect(error).toMatchObject({
      code: 'START_FAILED',
      facts: { exitCode: 1, operation: 'start', hypervisor: 'qemu', log: 'qemu: out of luck' },
    });
    expect(error.rawMessage).toContain('out of luck');
  });

  it('that is killed at once', async () => {
    // Not confined: process 1 of a pid namespace can't be hurt by signals of its own.
    const hypervisorPath = fakeQemu(at, '8.2.0', 'kill -SEGV $$');
    expect(await refusal({ hypervisorPath, confinement: 'off' })).toMatchObject({
      code: 'START_FAILED',
      facts: { signal: 'SIGSEGV' },
    });
  });

  it('that never answers its monitor', async () => {
    const hypervisorPath = fakeQemu(at, '8.2.0', 'exec sleep 1000');
    expect(await codeOf(refusal({ hypervisorPath, timeoutMs: 1500 }).then((error) => Promise.reject(error)))).toBe(
      'TIMEOUT',
    );
    expect((await refusal({ hypervisorPath, signal: AbortSignal.timeout(1000) })).code).toBe('ABORTED');
  });

  it('that refuses an argument', async () => {
    const error = await refusal({ hypervisorParams: [{ key: '-nonsense', value: '' }] });
    expect(error).toMatchObject({ code: 'START_FAILED', facts: { exitCode: 1 } });
    expect(error.facts.log).toContain('-nonsense: invalid option');
    expect(error.advice).toContain('hypervisorParams');
  });

  it('that lacks the CPU, the machine, or the network namespace that was asked for', async () => {
    expect(await refusal({ cpuModel: 'z80' })).toMatchObject({
      code: 'START_FAILED',
      advice: expect.stringContaining('-cpu help') as string,
    });
    expect(await refusal({ machineType: 'pc-q35-1.0' })).toMatchObject({ code: 'START_FAILED' });
    // Whether the host has SELinux or not: no policy has such a type.
    const label = await refusal({ selinuxProcessLabel: 'system_u:system_r:polyvisor_none_t:s0' });
    expect(label.code).toMatch(existsSync('/sys/fs/selinux/enforce') ? /^START_FAILED$/ : /^HOST_MISSING$/);
    const error = await refusal({ networkNamespace: '/run/netns/there-is-none' });
    expect(error.code).toBe('START_FAILED');
    expect(error.facts.log).toContain('there-is-none');
  });
});

describe('KVM', () => {
  it('that was asked for runs the guest where it works, and is refused where not', async () => {
    const { state } = await judgeKvm(await readHostFacts());
    const outcome = await Vm.create({ accel: 'kvm', memoryMiB: 256 }).then(
      async (vm) => {
        const { accel } = await vm.inspect();
        await vm.remove();
        return accel ?? 'none';
      },
      (error: VmError) => error.code,
    );
    const fitting = { usable: ['kvm'], broken: ['ACCEL_UNUSABLE'], doubtful: ['kvm', 'ACCEL_UNUSABLE'] }[state];
    expect(fitting).toContain(outcome);
  });

  it('that opens but hangs guests, taken on trust, ends with the time-out and says what to do', async () => {
    const { state } = await judgeKvm(await readHostFacts());
    const call = Vm.create({ accel: 'kvm', disableNestingChecks: true, memoryMiB: 256, startTimeoutMs: 10_000 });
    if (state !== 'broken') {
      await call.then((vm) => vm.remove()).catch((error: VmError) => expect(error.code).toMatch(/^START_/));
      return;
    }
    const error = await failure(call);
    expect(error.code).toMatch(/^START_(TIMEOUT|FAILED)$/);
    expect(error.advice).toMatch(/accel.*tcg/);
  });

  it('auto boots whatever the host is like, with the accelerator that doctor names', async () => {
    const notices: string[] = [];
    const vm = await Vm.create({
      memoryMiB: 256,
      onEvent: (event) => void (event.type === 'notice' && notices.push(event.message)),
    });
    try {
      const { accel } = await vm.inspect();
      const report = (await doctor()).hypervisors.find(({ type }) => type === 'qemu');
      expect(report).toMatchObject({ usable: true });
      if ((await judgeKvm(await readHostFacts())).state !== 'doubtful') expect(accel).toBe(report?.accel);
      expect(notices.length).toBe(accel === 'tcg' ? 1 : 0);
    } finally {
      await vm.remove();
    }
  });
});

/** A guest that boots and never answers, however fast the host is. */
const silent = kernelParams('rdinit=/bin/sleep -- 100000');

describe('a guest', () => {
  it('whose kernel finds no init is a panic, told at once', async () => {
    const began = performance.now();
    const error = await refusal({ kernelParams: kernelParams('init=/nonexistent rdinit=/nonexistent') });
    expect(error.code).toBe('GUEST_PANICKED');
    expect(error.rawMessage).toMatch(/^Kernel panic - not syncing: /);
    expect(error.facts.console).toContain('Kernel panic');
    expect(performance.now() - began).toBeLessThan(60_000);
  });

  it('whose init ends is a panic, whatever the kernel prints after it', async () => {
    const error = await refusal({ kernelParams: kernelParams('rdinit=/bin/false') });
    expect(error.code).toBe('GUEST_PANICKED');
    expect(error.rawMessage).toContain('Attempted to kill init');
  });

  it('without an agent is a START_TIMEOUT, with the console and the likely cause', async () => {
    const began = performance.now();
    const error = await refusal({
      kernelParams: kernelParams('rdinit=/bin/sleep loglevel=7 -- 100000'),
      startTimeoutMs: 15_000,
    });
    expect(error.code).toBe('START_TIMEOUT');
    expect(performance.now() - began).toBeLessThan(15_000 + 10_000);
    expect(error.rawMessage).toMatch(/within 15000 ms: the guest has booted, but no agent/);
    expect(error.facts.console).toContain('Run /bin/sleep as init process');
    expect(error.advice).toContain('startTimeoutMs');
  });

  it('whose agent finds no channel says so', async () => {
    const error = await refusal({
      kernelParams: kernelParams('module_blacklist=virtio_console'),
      startTimeoutMs: 20_000,
    });
    expect(error.code).toBe('START_TIMEOUT');
    expect(error.rawMessage).toContain('the agent runs but did not answer on its channel');
    expect(error.advice).toContain('virtio_console');
  });

  it('that is aborted while it boots is gone at once', async () => {
    const controller = new AbortController();
    const error = await refusal({
      kernelParams: silent,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'phase' && event.phase === 'boot') setTimeout(() => controller.abort(), 500);
      },
    });
    expect(error.code).toBe('ABORTED');
  });

  it('whose boot takes longer than the caller gives is gone at once', async () => {
    expect((await refusal({ kernelParams: silent, timeoutMs: 1500 })).code).toBe('TIMEOUT');
  });
});
