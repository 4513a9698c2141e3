import { VmError } from '../errors.ts';
import type { Capabilities, Operation } from './capabilities.ts';
import { requireSupport } from './capabilities.ts';
import type { Driver, Hypervisor, HypervisorModule, VmContext, VmState } from './hypervisor.ts';

/** Operations that every driver has, and that no capabilities list. */
type Unlisted = 'kill' | 'detach' | 'own' | 'leave';

function isUnlisted(operation: Operation | Unlisted): operation is Unlisted {
  return ['kill', 'detach', 'own', 'leave'].includes(operation);
}

/** The states in which an operation is allowed; any state when it is not listed. */
const allowedIn: Partial<Record<Operation | Unlisted, readonly VmState[]>> = {
  create: ['none'],
  loadState: ['none'],
  fromGrpc: ['none'],
  addDevice: ['created'],
  start: ['created'],
  restore: ['created'],
  stop: ['running', 'paused'],
  kill: ['running', 'paused'],
  detach: ['running', 'paused'],
  own: ['running', 'paused'],
  leave: ['running', 'paused'],
  pause: ['running'],
  resume: ['paused'],
  save: ['paused'],
  dumpMemory: ['running', 'paused'],
  hotplugAddDevice: ['running'],
  hotplugRemoveDevice: ['running'],
  resizeMemory: ['running'],
  resizeVcpus: ['running'],
  threadIds: ['running', 'paused'],
  check: ['running', 'paused'],
  console: ['created', 'running', 'paused'],
  cleanup: ['none', 'created', 'stopped'],
  saveState: ['created', 'running', 'paused', 'stopped'],
  toGrpc: ['running', 'paused'],
};

/** Operations that must not go by what this object last saw. */
const asksFirst: ReadonlySet<string> = new Set<Operation>(['pause', 'resume', 'save']);

/**
 * Puts a driver in order: refuses what its capabilities refuse and what the state forbids, and runs operations one after the
 * other. Drivers hold no state machine of their own.
 */
export function manage(module: HypervisorModule, context: VmContext): Hypervisor {
  const driver = module.driver(context);
  let state: VmState = 'none';
  let last: Promise<unknown> = Promise.resolve();
  const offered = (): Capabilities => driver.offers?.() ?? module.capabilities;

  const refuse = (operation: Operation | Unlisted): void => {
    const allowed = allowedIn[operation];
    if (allowed === undefined || allowed.includes(state)) return;
    throw new VmError('INVALID_STATE', `${operation} needs the VM to be ${allowed.join(' or ')}; it is ${state}`, {
      operation,
      hypervisor: module.type,
      name: context.name,
    });
  };

  const run = <T>(
    operation: Operation | Unlisted,
    action: () => Promise<T>,
    after?: VmState | ((value: T) => VmState),
  ): Promise<T> => {
    const result = last.then(async () => {
      if (!isUnlisted(operation)) {
        requireSupport(module.type, operation, offered().operations[operation]);
      }
      try {
        // Another process may have paused or resumed it since: the VMM knows.
        if (asksFirst.has(operation) && (state === 'running' || state === 'paused')) state = await driver.runState();
        refuse(operation);
        const value = await action();
        if (after !== undefined) state = typeof after === 'function' ? after(value) : after;
        return value;
      } catch (error) {
        throw VmError.from(error).with({ operation, hypervisor: module.type, name: context.name });
      }
    });
    last = result.catch(() => undefined);
    return result;
  };

  const optional = <K extends OptionalOperation>(operation: K): NonNullable<Driver[K]> => {
    const method = driver[operation];
    if (method === undefined) {
      throw new VmError('INTERNAL', `${module.type} declares ${operation} and lacks it`, { operation });
    }
    return method.bind(driver) as NonNullable<Driver[K]>;
  };

  const supportOf = (
    device: { kind: keyof typeof module.capabilities.devices },
    when: 'start' | 'hotAdd' | 'hotRemove',
  ): void => requireSupport(module.type, `${device.kind} (${when})`, offered().devices[device.kind][when]);

  return {
    type: module.type,
    get state() {
      return state;
    },
    capabilities: offered,
    config: () => context.config,
    create: (options) => run('create', () => driver.create(options), 'created'),
    start: (options) => run('start', () => driver.start(options), 'running'),
    stop: (options) => run('stop', () => driver.stop(options), 'stopped'),
    kill: (options) => run('kill', () => driver.kill(options), 'stopped'),
    detach: () => run('detach', () => driver.detach()),
    own: () => run('own', () => driver.own()),
    leave: () => run('leave', () => driver.leave()),
    pause: (options) => run('pause', async () => optional('pause')(options), 'paused'),
    resume: (options) => run('resume', async () => optional('resume')(options), 'running'),
    save: (folder, options) => run('save', async () => optional('save')(folder, options)),
    restore: (folder, options) =>
      run(
        'restore',
        async () => optional('restore')(folder, options),
        (found) => found,
      ),
    dumpMemory: (file, options) => run('dumpMemory', async () => optional('dumpMemory')(file, options)),
    addDevice: (device) =>
      run('addDevice', async () => {
        const method = optional('addDevice');
        supportOf(device, 'start');
        return method(device);
      }),
    hotplugAddDevice: (device, options) =>
      run('hotplugAddDevice', async () => {
        const method = optional('hotplugAddDevice');
        supportOf(device, 'hotAdd');
        return method(device, options);
      }),
    hotplugRemoveDevice: (device, options) =>
      run('hotplugRemoveDevice', async () => {
        const method = optional('hotplugRemoveDevice');
        supportOf(device, 'hotRemove');
        return method(device, options);
      }),
    resizeMemory: (memoryMiB, blockSizeMiB, probe, options) =>
      run('resizeMemory', async () => optional('resizeMemory')(memoryMiB, blockSizeMiB, probe, options)),
    resizeVcpus: (vcpus, options) => run('resizeVcpus', async () => optional('resizeVcpus')(vcpus, options)),
    toGrpc: () => run('toGrpc', async () => optional('toGrpc')()),
    fromGrpc: (bytes) =>
      run('fromGrpc', async () => {
        await optional('fromGrpc')(bytes);
        state = driver.process() === undefined ? 'stopped' : await driver.runState();
      }),
    check: (options) => run('check', () => driver.check(options)),
    threadIds: (options) => run('threadIds', async () => optional('threadIds')(options)),
    console: () => run('console', () => driver.console()),
    disconnect: () => run('disconnect', () => driver.disconnect()),
    cleanup: () => run('cleanup', () => driver.cleanup()),
    saveState: () => run('saveState', () => driver.saveState()),
    loadState: (saved, known) =>
      run('loadState', async () => {
        await driver.loadState(saved);
        state = driver.process() === undefined ? 'stopped' : (known ?? (await driver.runState()));
      }),
    generateSocket: (useVsock) => run('generateSocket', () => driver.generateSocket(useVsock)),
    // These only look, or must work while an operation hangs.
    pids: () => driver.pids(),
    statistics: (options) => driver.statistics(options),
    vmmEvents: (signal) => {
      if (driver.vmmEvents !== undefined) return driver.vmmEvents(signal);
      throw new VmError('UNSUPPORTED', `${module.type} tells no events`, { hypervisor: module.type });
    },
    wait: (options) => driver.wait(options),
    process: () => driver.process(),
    channels: () => driver.channels(),
    lastWords: () => driver.lastWords(),
  };
}

type OptionalOperation =
  | 'threadIds'
  | 'pause'
  | 'resume'
  | 'save'
  | 'restore'
  | 'dumpMemory'
  | 'addDevice'
  | 'hotplugAddDevice'
  | 'hotplugRemoveDevice'
  | 'resizeMemory'
  | 'resizeVcpus'
  | 'toGrpc'
  | 'fromGrpc';
