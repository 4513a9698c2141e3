import { VmError } from '../errors.ts';
import { panicIn } from '../hypervisors/console-signs.ts';
import type { VmmExit } from '../hypervisors/hypervisor.ts';
import { bootId } from '../state/process-identity.ts';
import type { VmEnding, VmRecord } from '../state/record.ts';
import type { VmStore } from '../state/store.ts';
import { recall } from './context.ts';
import { endForwarder } from './forwarder.ts';
import { noteEvent } from './life-events.ts';
import { statusOf } from './status.ts';

/** What is said of a VMM that went without a word: nobody but its parent learns a process's exit code, and it had none. */
export const noWord = 'killed or crashed: it left no word';

/** Milliseconds that a keeper gets to write down how a VMM ended that is dead already. */
const keeperMs = 5_000;

/**
 * Writes down how a VM ended, unless that is known already, and tells it to all who follow its events.
 * @throws {VmError} NOT_FOUND, STATE_INVALID, BUSY, IO
 */
export async function markEnded(
  store: VmStore,
  vm: { id: string; name: string },
  ending: VmEnding,
  driver?: unknown,
): Promise<VmRecord> {
  let first = false;
  const record = await store.update(vm, (before) => {
    first = before.ended === undefined;
    const gone = { status: 'stopped' as const, keeper: undefined };
    return { ...gone, ...(first ? { ended: ending } : {}), ...(driver === undefined ? {} : { driver }) };
  });
  await endForwarder(record);
  if (!first) return record;
  const { at, panic, exitCode, signal, reason, noticed } = ending;
  if (panic !== undefined) await noteEvent(store, record, 'panicked', { panic }, at);
  await noteEvent(store, record, 'ended', { exitCode, signal, reason, noticed }, at);
  return record;
}

/**
 * Finds out how a VM ended that nobody was there to see, and writes it down. A VM that runs, or whose end is known, stays as it is.
 * @throws {VmError} NOT_FOUND, STATE_INVALID, BUSY, IO
 */
export async function settle(store: VmStore, record: VmRecord): Promise<VmRecord> {
  const claimsLife = record.status === 'running' || record.status === 'paused';
  if (!claimsLife || record.ended !== undefined || statusOf(record) !== 'stopped') return record;
  if (record.vmm?.bootId !== bootId()) {
    return markEnded(store, record, { at: now(), reason: 'host-reboot', noticed: true });
  }
  const { module, context } = await recall(store, record);
  const driver = module.driver(context);
  await driver.loadState(record.driver);
  const ending = endingOf(await driver.wait({ timeoutMs: keeperMs }), (await driver.lastWords()).console);
  return markEnded(store, record, ending, await driver.saveState());
}

/**
 * How a VM ended, from what is known of its VMM's end.
 * @param console the guest's last words
 * @param otherwise why, when the VMM has no word of its own
 */
export function endingOf(exit: VmmExit, console: string, otherwise?: string): VmEnding {
  const { code, signal, reason } = exit;
  // A guest that panics is started anew by its kernel, which ends the VMM: that is all that the VMM can tell.
  const panicked = reason === undefined || reason === 'guest-reset' || reason === 'guest-panic';
  const panic = panicked && otherwise === undefined ? panicIn(console) : undefined;
  const silent = code === undefined && signal === undefined ? noWord : undefined;
  return {
    at: exit.at ?? now(),
    exitCode: code,
    signal,
    reason: panic === undefined ? (reason ?? otherwise ?? silent) : 'guest-panicked',
    panic,
    noticed: exit.at === undefined && otherwise === undefined && silent !== undefined ? true : undefined,
  };
}

/** The same as `settle`, for lists: one VM whose end can't be told does not spoil the others. */
export async function settleIfPossible(store: VmStore, record: VmRecord): Promise<VmRecord> {
  try {
    return await settle(store, record);
  } catch (error) {
    const { code } = VmError.from(error);
    if (code === 'INTERNAL') throw error;
    return record;
  }
}

function now(): string {
  return new Date().toISOString();
}
