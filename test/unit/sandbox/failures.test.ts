import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { VmEvent } from '../../../src/sandbox/events.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import type { VmOptions } from '../../../src/sandbox/vm-options.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { fakeAgent, scratch } from '../../fakes/programs.ts';

const at = scratch();

/** Options of a mock that is told to fail. */
const told = (key: 'fail' | 'hang' | 'die', value: string): VmOptions => ({
  hypervisor: 'mock',
  name: 'told',
  hypervisorParams: [{ key, value }],
});

const expectNoVm = (): void => {
  expect(readdirSync(places().vms)).toEqual([]);
  expect(readdirSync(places().runtime)).toEqual([]);
};

/** Calls with a signal that is aborted in that phase. */
const abortIn = async (phase: string, options: VmOptions): Promise<unknown> => {
  const controller = new AbortController();
  const onEvent = (event: VmEvent): void => {
    if (event.type === 'phase' && event.phase === phase) controller.abort();
  };
  return Vm.create({ ...options, signal: controller.signal, onEvent });
};

describe('a create that fails', () => {
  it.each(['create', 'start'])('at %s is an error, and leaves nothing', async (operation) => {
    const error = await failure(Vm.create(told('fail', operation)));
    expect(error.code).toBe('VMM_FAILED');
    expect(error.facts).toMatchObject({ operation, hypervisor: 'mock', name: 'told' });
    expectNoVm();
  });

  it.each(['create', 'start'])('because the VMM dies at %s is an error, and leaves nothing', async (operation) => {
    expect(await codeOf(Vm.create(told('die', operation)))).toBe('VMM_GONE');
    expectNoVm();
  });

  it.each(['create', 'start'])('because %s hangs ends with the time-out, and leaves nothing', async (operation) => {
    const error = await failure(Vm.create({ ...told('hang', operation), timeoutMs: 150 }));
    expect(error.code).toBe('TIMEOUT');
    expect(error.rawMessage).toContain('150 ms');
    expectNoVm();
  });

  it.each(['create', 'start'])(
    'because %s hangs ends when the caller aborts, and leaves nothing',
    async (operation) => {
      const signal = AbortSignal.timeout(100);
      expect(await codeOf(Vm.create({ ...told('hang', operation), signal }))).toBe('ABORTED');
      expectNoVm();
    },
  );
});

describe('a signal or a time-out', () => {
  it('that is over before the call ends it at once', async () => {
    const phases: string[] = [];
    const onEvent = (event: VmEvent): void => void phases.push(event.type);
    expect(await codeOf(Vm.create({ hypervisor: 'mock', signal: AbortSignal.abort(), onEvent }))).toBe('ABORTED');
    expect(phases).toEqual([]);
    expectNoVm();
  });

  it.each(['create', 'start', 'boot'])('in the phase %s ends the call, and leaves nothing', async (phase) => {
    expect(await codeOf(abortIn(phase, { hypervisor: 'mock' }))).toBe('ABORTED');
    expectNoVm();
  });

  it('after the VM is there changes nothing', async () => {
    const controller = new AbortController();
    const vm = await Vm.create({ hypervisor: 'mock', signal: controller.signal, timeoutMs: 20_000 });
    try {
      controller.abort();
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    } finally {
      await vm.remove();
    }
  });

  it('ends a boot whose agent never answers', async () => {
    const hypervisorPath = fakeAgent(at, 'socket.resume();');
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath, timeoutMs: 700 }))).toBe('TIMEOUT');
    expectNoVm();
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath, signal: AbortSignal.timeout(700) }))).toBe(
      'ABORTED',
    );
    expectNoVm();
  });
});

describe('a guest', () => {
  it('whose agent never answers is a START_TIMEOUT within the time, with the likely cause', async () => {
    const hypervisorPath = fakeAgent(at, 'console.log("a word of the guest"); socket.resume();');
    const began = performance.now();
    const error = await failure(Vm.create({ hypervisor: 'mock', hypervisorPath, startTimeoutMs: 800 }));
    expect(error.code).toBe('START_TIMEOUT');
    expect(performance.now() - began).toBeLessThan(800 + 5000);
    expect(error.facts.console).toContain('a word of the guest');
    expect(error.rawMessage).toMatch(/within 800 ms: the guest has booted, but no agent/);
    expect(error.advice).not.toBe('');
    expectNoVm();
  });

  it('whose agent talks another language is refused', async () => {
    const hypervisorPath = fakeAgent(
      at,
      'socket.resume(); const say = () => socket.write("HTTP/1.1 200 OK\\r\\n".repeat(9999), say); say();',
    );
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath }))).toBe('AGENT_PROTOCOL');
    expectNoVm();
  });

  it('whose agent hangs up while the VMM lives is a START_TIMEOUT', async () => {
    const hypervisorPath = fakeAgent(at, 'socket.destroy();');
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath, startTimeoutMs: 700 }))).toBe('START_TIMEOUT');
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath, startTimeoutMs: 9000, timeoutMs: 700 }))).toBe(
      'TIMEOUT',
    );
    expectNoVm();
  });

  it('that takes the VMM down with it is a START_FAILED with its last words', async () => {
    const hypervisorPath = fakeAgent(at, 'console.log("that was all"); setTimeout(() => process.exit(7), 20);');
    const error = await failure(Vm.create({ hypervisor: 'mock', hypervisorPath }));
    expect(error.code).toBe('START_FAILED');
    expect(error.facts).toMatchObject({ exitCode: 7, hypervisor: 'mock' });
    expect(error.facts.log).toContain('that was all');
    expectNoVm();
  });

  it('that hangs up and ends a moment later is a START_FAILED too', async () => {
    const hypervisorPath = fakeAgent(at, 'socket.destroy(); setTimeout(() => process.exit(9), 300);');
    expect(await failure(Vm.create({ hypervisor: 'mock', hypervisorPath }))).toMatchObject({
      code: 'START_FAILED',
      facts: { exitCode: 9 },
    });
    expectNoVm();
  });

  it('whose kernel says that it panics is a GUEST_PANICKED', async () => {
    const words = '[    1.0] Kernel panic - not syncing: no heart';
    const dying = fakeAgent(at, `console.log(${JSON.stringify(words)}); setTimeout(() => process.exit(0), 20);`);
    const error = await failure(Vm.create({ hypervisor: 'mock', hypervisorPath: dying }));
    expect(error).toMatchObject({ code: 'GUEST_PANICKED', rawMessage: 'Kernel panic - not syncing: no heart' });
    const hanging = fakeAgent(at, `console.log(${JSON.stringify(words)}); socket.resume();`);
    expect(await codeOf(Vm.create({ hypervisor: 'mock', hypervisorPath: hanging, startTimeoutMs: 700 }))).toBe(
      'GUEST_PANICKED',
    );
    expectNoVm();
  });

  it('that never gets as far as listening is a START_FAILED with what the VMM said', async () => {
    const hypervisorPath = at.script('broken', 'echo "no such luck" >&2; exit 3');
    const error = await failure(Vm.create({ hypervisor: 'mock', hypervisorPath }));
    expect(error.code).toBe('START_FAILED');
    expect(error.facts).toMatchObject({ exitCode: 3, operation: 'start' });
    expect(error.facts.log).toContain('no such luck');
    expectNoVm();
  });

  it('whose words would steer a terminal is quoted without them', async () => {
    const hypervisorPath = at.script('rude', `printf '\\033[2J\\033]0;title\\007wiped\\n' >&2; exit 1`);
    const error = await failure(Vm.create({ hypervisor: 'mock', hypervisorPath }));
    expect(error.facts.log).toBe('wiped');
    expectNoVm();
  });
});

describe('an operation of a running VM', () => {
  const cases: [string, (vm: Vm) => Promise<unknown>][] = [
    ['check', (vm) => vm.check({ timeoutMs: 300 })],
    ['pause', (vm) => vm.pause({ timeoutMs: 300 })],
    ['stop', (vm) => vm.stop({ timeoutMs: 1000, graceMs: 50 })],
  ];

  it.each(cases)('%s that fails is an error; the VM can still be removed', async (operation, call) => {
    const vm = await Vm.create(told('fail', operation));
    try {
      expect(await failure(call(vm))).toMatchObject({ code: 'VMM_FAILED', facts: { operation, name: 'told' } });
    } finally {
      await vm.remove();
    }
    expectNoVm();
  });

  it.each(cases)('%s that hangs ends with its time-out; the VM can still be removed', async (operation, call) => {
    const vm = await Vm.create(told('hang', operation));
    try {
      expect(await codeOf(call(vm))).toBe('TIMEOUT');
    } finally {
      await vm.remove();
    }
    expectNoVm();
  });

  it.each(cases)('%s during which the VMM dies is an error; the VM can still be removed', async (operation, call) => {
    const vm = await Vm.create(told('die', operation));
    try {
      expect(await codeOf(call(vm))).toBe('VMM_GONE');
      expect(await codeOf((async () => vm.exec(['true']))())).toBe('AGENT_GONE');
    } finally {
      await vm.remove();
    }
    expectNoVm();
  });

  it('resume that fails leaves the VM paused, and it can be removed', async () => {
    const vm = await Vm.create(told('fail', 'resume'));
    try {
      await vm.pause();
      expect(await codeOf(vm.resume())).toBe('VMM_FAILED');
      expect(await vm.inspect()).toMatchObject({ status: 'paused' });
      expect(await codeOf(Vm.connect('told'))).toBe('INVALID_STATE');
    } finally {
      await vm.remove();
    }
    expectNoVm();
  });
});
