import { setImmediate as nextTurn } from 'node:timers/promises';
import { callScope } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { lock } from '../state/lock.ts';
import { VmStore } from '../state/store.ts';
import { lifeLock } from './bring-up.ts';
import { statusOf } from './status.ts';

/** What can be done about a VM of that name. */
export interface WaysToVm<T> {
  connect(signal: AbortSignal): Promise<T>;
  create(signal: AbortSignal): Promise<T>;
  start(signal: AbortSignal): Promise<T>;
}

/**
 * Connects to the VM of a name, starts it when it has ended, and makes it when there is none. Of several who want the same one makes it
 * and the others wait for that; should the maker fail or die, the next one makes it.
 * @throws {VmError} what the ways throw; TIMEOUT, ABORTED
 */
export async function getOrCreate<T>(
  name: string,
  call: { signal?: AbortSignal | undefined; timeoutMs?: number | undefined },
  ways: WaysToVm<T>,
): Promise<T> {
  const scope = callScope(`getting ${name}`, call);
  const store = new VmStore();
  try {
    for (;;) {
      scope.throwIfEnded();
      const record = await store.read(name).catch(ifCode('NOT_FOUND'));
      const status = record === undefined ? undefined : statusOf(record);
      let vm: T | undefined;
      if (record === undefined || (status === 'failed' && !record.detached)) {
        vm = await ways.create(scope.signal).catch(ifCode('NAME_IN_USE'));
      } else if (status === 'running' || status === 'paused') {
        vm = await ways.connect(scope.signal).catch(ifCode('NOT_FOUND', 'NOT_RUNNING'));
      } else if (status === 'creating' || status === 'starting') {
        // Held by whoever brings it up, until the guest answers or that process ends.
        const held = await lock(store.folder(name), lifeLock, { signal: scope.signal }).catch(ifCode('NOT_FOUND'));
        await held?.release();
        // One that has not taken it yet is looked at again: the clock, and whoever else is in this process, must get on meanwhile.
        await nextTurn();
      } else {
        vm = await ways.start(scope.signal).catch(ifCode('NOT_FOUND'));
      }
      if (vm !== undefined) return vm;
    }
  } finally {
    scope.release();
  }
}

/** Lets these failures pass as undefined: the VM has changed meanwhile, and is looked at again. */
function ifCode(...codes: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (!codes.includes(VmError.from(error).code)) throw error;
  };
}
