import { describe, expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import type { Hypervisor, VmState } from '../../../src/hypervisors/hypervisor.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { type Scripted, scripted } from '../../fakes/scripted-driver.ts';

const block = { kind: 'block', id: 'disk', path: '/d', format: 'raw', readOnly: true } as const;

/** Brings a hypervisor into a state. */
const into: Record<VmState, (it: Hypervisor) => Promise<void>> = {
  none: async () => undefined,
  created: (it) => it.create(),
  running: async (it) => {
    await it.create();
    await it.start();
  },
  paused: async (it) => {
    await into.running(it);
    await it.pause();
  },
  stopped: async (it) => {
    await into.running(it);
    await it.stop();
  },
};

const inState = async (state: VmState): Promise<Scripted> => {
  const machine = scripted();
  await into[state](machine.hypervisor);
  expect(machine.hypervisor.state).toBe(state);
  machine.calls.length = 0;
  return machine;
};

/** Every operation that has states, with those that allow it and the one that it leads to. */
const table: [name: string, call: (it: Hypervisor) => Promise<unknown>, allowed: VmState[], next?: VmState][] = [
  ['create', (it) => it.create(), ['none'], 'created'],
  ['loadState', (it) => it.loadState({}), ['none'], 'running'],
  ['fromGrpc', (it) => it.fromGrpc(new Uint8Array()), ['none'], 'running'],
  ['addDevice', (it) => it.addDevice(block), ['created']],
  ['start', (it) => it.start(), ['created'], 'running'],
  ['stop', (it) => it.stop(), ['running', 'paused'], 'stopped'],
  ['kill', (it) => it.kill(), ['running', 'paused'], 'stopped'],
  ['detach', (it) => it.detach(), ['running', 'paused']],
  ['pause', (it) => it.pause(), ['running'], 'paused'],
  ['resume', (it) => it.resume(), ['paused'], 'running'],
  ['save', (it) => it.save('/tmp'), ['paused']],
  ['restore', (it) => it.restore('/tmp'), ['created'], 'paused'],
  ['dumpMemory', (it) => it.dumpMemory('/tmp/none'), ['running', 'paused']],
  ['hotplugAddDevice', (it) => it.hotplugAddDevice(block), ['running']],
  ['hotplugRemoveDevice', (it) => it.hotplugRemoveDevice(block), ['running']],
  ['resizeMemory', (it) => it.resizeMemory(512, 128, false), ['running']],
  ['resizeVcpus', (it) => it.resizeVcpus(2), ['running']],
  ['threadIds', (it) => it.threadIds(), ['running', 'paused']],
  ['check', (it) => it.check(), ['running', 'paused']],
  ['console', (it) => it.console(), ['created', 'running', 'paused']],
  ['cleanup', (it) => it.cleanup(), ['none', 'created', 'stopped']],
  ['saveState', (it) => it.saveState(), ['created', 'running', 'paused', 'stopped']],
  ['toGrpc', (it) => it.toGrpc(), ['running', 'paused']],
  ['disconnect', (it) => it.disconnect(), ['none', 'created', 'running', 'paused', 'stopped']],
  ['generateSocket', (it) => it.generateSocket(false), ['none', 'created', 'running', 'paused', 'stopped']],
];

it('a restored VM runs when its driver says that the guest has gone on', async () => {
  const { hypervisor, on } = await inState('created');
  on.set('restore', async () => 'running');
  await hypervisor.restore('/tmp', { goOn: true });
  expect(hypervisor.state).toBe('running');
});

describe.each(table)('%s', (name, call, allowed, next) => {
  it.each(['none', 'created', 'running', 'paused', 'stopped'] as const)('of a VM that is %s', async (state) => {
    const { hypervisor, calls } = await inState(state);
    if (allowed.includes(state)) {
      await call(hypervisor);
      expect(calls[0]).toBe(name);
      expect(hypervisor.state).toBe(next ?? state);
      return;
    }
    const error = await failure(call(hypervisor));
    expect(error).toMatchObject({
      code: 'INVALID_STATE',
      facts: { operation: name, hypervisor: 'mock', name: 'paper' },
    });
    expect(error.rawMessage).toContain(`it is ${state}`);
    expect(calls).toEqual([]);
    expect(hypervisor.state).toBe(state);
  });

  it('that fails leaves the state as it was, and tells what failed', async () => {
    const state = allowed[0] ?? 'none';
    const { hypervisor, on } = await inState(state);
    on.set(name, () => Promise.reject(new VmError('VMM_FAILED', 'no')));
    expect(await failure(call(hypervisor))).toMatchObject({
      code: 'VMM_FAILED',
      facts: { operation: name, hypervisor: 'mock' },
    });
    expect(hypervisor.state).toBe(state);
    on.set(name, () => Promise.reject(new TypeError('a bug')));
    expect(await failure(call(hypervisor))).toMatchObject({
      code: 'INTERNAL',
      cause: expect.any(TypeError) as TypeError,
    });
    on.delete(name);
    await call(hypervisor);
  });
});

describe('order', () => {
  it('operations run one after the other, in the order of the calls', async () => {
    const { hypervisor, calls, on } = scripted();
    on.set('create', () => new Promise((resolve) => setTimeout(resolve, 30)));
    await Promise.all([
      hypervisor.create(),
      hypervisor.start(),
      hypervisor.pause(),
      hypervisor.resume(),
      hypervisor.stop(),
    ]);
    expect(calls).toEqual([
      'create',
      'create.',
      'start',
      'start.',
      'pause',
      'pause.',
      'resume',
      'resume.',
      'stop',
      'stop.',
    ]);
  });

  it('one that fails does not hold up the next', async () => {
    const { hypervisor, on } = await inState('running');
    on.set('pause', () => Promise.reject(new VmError('VMM_FAILED', 'no')));
    const [first, second] = await Promise.allSettled([hypervisor.pause(), hypervisor.check()]);
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled']);
  });

  it('of two stops the second finds the VM stopped', async () => {
    const { hypervisor } = await inState('running');
    const [first, second] = await Promise.allSettled([hypervisor.stop(), hypervisor.stop()]);
    expect([first.status, second.status]).toEqual(['fulfilled', 'rejected']);
  });

  it('what only looks does not wait for an operation that hangs', async () => {
    const { hypervisor, on } = await inState('running');
    let free: (() => void) | undefined;
    on.set('check', () => new Promise<void>((resolve) => (free = resolve)));
    const hanging = hypervisor.check();
    await hypervisor.pids();
    await hypervisor.lastWords();
    expect(hypervisor.process()).toBeDefined();
    free?.();
    await hanging;
  });
});

describe('capabilities', () => {
  it.each(['pause', 'save', 'resizeVcpus', 'toGrpc'] as const)(
    '%s that is refused is UNSUPPORTED with the reason, in any state',
    async (operation) => {
      const { hypervisor, calls } = scripted({ operations: [operation] });
      const call = table.find(([name]) => name === operation)?.[1];
      const error = await failure(call?.(hypervisor) ?? Promise.resolve());
      expect(error).toMatchObject({ code: 'UNSUPPORTED', facts: { operation, hypervisor: 'mock' } });
      expect(error.rawMessage).toBe(`${operation} is not supported on mock: the script says so`);
      expect(calls).toEqual([]);
    },
  );

  it('a device that is refused is UNSUPPORTED, and named', async () => {
    const { hypervisor, calls } = scripted({ devices: 'no slot' });
    await hypervisor.create();
    calls.length = 0;
    expect(await failure(hypervisor.addDevice(block))).toMatchObject({
      code: 'UNSUPPORTED',
      rawMessage: expect.stringContaining('block') as string,
    });
    await hypervisor.start();
    expect(await codeOf(hypervisor.hotplugAddDevice(block))).toBe('UNSUPPORTED');
    expect(await codeOf(hypervisor.hotplugRemoveDevice(block))).toBe('UNSUPPORTED');
    expect(calls).toEqual(['start', 'start.']);
  });
});

describe('loadState', () => {
  it('of a paused VM makes it paused', async () => {
    const { hypervisor, on } = scripted();
    on.set('runState', () => Promise.resolve('paused'));
    await hypervisor.loadState({});
    expect(hypervisor.state).toBe('paused');
  });
});
