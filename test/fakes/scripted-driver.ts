import { contextFor } from '../unit/hypervisors/fixture.ts';
import { type Capabilities, operations, type Operation, type Support } from '../../src/hypervisors/capabilities.ts';
import { deviceKinds } from '../../src/hypervisors/device.ts';
import type { Driver, Hypervisor, HypervisorModule } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { mock } from '../../src/hypervisors/mock/index.ts';

/** A hypervisor on a driver that does nothing but tell, and does what the test says at each operation. */
export interface Scripted {
  hypervisor: Hypervisor;
  /** what the driver was called for, in order: `NAME` at the begin, `NAME.` at the end; questions after its state are left out */
  calls: string[];
  /** what happens at an operation instead of success */
  on: Map<string, () => Promise<unknown>>;
}

/** @param refused operations and devices that the capabilities refuse */
export function scripted(refused: { operations?: readonly Operation[]; devices?: Support } = {}): Scripted {
  const calls: string[] = [];
  const on = new Map<string, () => Promise<unknown>>();
  const support = refused.devices ?? true;
  const capabilities: Capabilities = {
    operations: Object.fromEntries(
      operations.map((name): [string, Support] => [
        name,
        refused.operations?.includes(name) === true ? 'the script says so' : true,
      ]),
    ) as Capabilities['operations'],
    devices: Object.fromEntries(
      deviceKinds.map((kind) => [kind, { start: support, hotAdd: support, hotRemove: support }]),
    ) as Capabilities['devices'],
    agent: true,
    sharedMemory: true,
    isolation: true,
  };
  let paused = false;
  const driver = new Proxy({} as Driver, {
    get: (_, name) => {
      if (name === 'process') return () => on.get('process') ?? { pid: process.pid, startTime: 0, bootId: '' };
      if (name === 'offers') return undefined;
      if (name === 'runState') return async () => (await on.get('runState')?.()) ?? (paused ? 'paused' : 'running');
      return async (): Promise<unknown> => {
        calls.push(String(name));
        const value: unknown = await on.get(String(name))?.();
        if (name === 'pause' || name === 'resume') paused = name === 'pause';
        calls.push(`${String(name)}.`);
        return name === 'restore' ? (value ?? 'paused') : value;
      };
    },
  });
  const module: HypervisorModule = { ...mock, capabilities, driver: () => driver };
  return { hypervisor: manage(module, contextFor(mock)), calls, on };
}
