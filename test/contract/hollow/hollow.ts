import { operations } from '../../../src/hypervisors/capabilities.ts';
import type { Driver, HypervisorModule } from '../../../src/hypervisors/hypervisor.ts';
import { contextFor } from '../../unit/hypervisors/fixture.ts';

type Method = keyof Driver;

/** What drivers have beside the interface's operations. */
const others: readonly Method[] = ['kill', 'detach', 'wait', 'process', 'channels', 'runState', 'lastWords'];

/** Operations of which a driver has nothing to do, with the reason: doing nothing is all that they may do. */
const nothingToDo: { readonly [operation: string]: string } = {
  disconnect: 'a driver of one program holds no connection between calls',
};

/** The operations of a driver that the suite has to miss when they do nothing: all that it has. */
export function hollowable(module: HypervisorModule): Method[] {
  const supported = operations.filter((operation) => module.capabilities.operations[operation] === true);
  const driver = module.driver(contextFor(module));
  const has = (name: string): name is Method => typeof Reflect.get(driver, name) === 'function';
  return [...supported, ...others].filter(has).filter((name) => nothingToDo[name] === undefined);
}

/** The module with one operation that succeeds and does nothing; it answers what would be right if it had been done. */
export function hollow(module: HypervisorModule, operation: Method): HypervisorModule {
  return {
    ...module,
    driver: (context) =>
      new Proxy(module.driver(context), {
        get(driver, name) {
          const value: unknown = Reflect.get(driver, name);
          if (typeof value !== 'function') return value;
          if (name !== operation) return value.bind(driver) as unknown;
          const answer = answers[operation];
          return answer === undefined ? async () => undefined : (...words: unknown[]) => answer(words);
        },
      }),
  };
}

/** Plausible answers, where none at all would be noticed by its type alone. */
const answers: { readonly [operation: string]: (words: readonly unknown[]) => unknown } = {
  process: () => undefined,
  channels: () => [],
  runState: async () => 'running',
  lastWords: async () => ({ log: '', console: '' }),
  pids: async () => [],
  threadIds: async () => new Map(),
  wait: async () => ({}),
  console: async () => ({ protocol: 'unix', path: '/tmp/console.sock', log: '/tmp/console.log' }),
  saveState: async () => ({ schema: 1, binary: '/usr/bin/vmm' }),
  resizeMemory: async ([memoryMiB]) => ({ memoryMiB }),
  resizeVcpus: async ([vcpus]) => ({ before: 1, after: vcpus }),
  hotplugAddDevice: async () => ({}),
  toGrpc: async () => new Uint8Array(),
};
