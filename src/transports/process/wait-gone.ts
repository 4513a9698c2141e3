import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { isAlive, type ProcessIdentity } from '../../state/process-identity.ts';
import { untilSilent } from './alive.ts';

/** The longest pause between two looks, in ms. */
const maxPauseMs = 100;

export interface WaitGoneOptions extends CallOptions {
  /** path of the FIFO whose write end the process inherited: `vmFiles.alive`; its end of file is waited for first */
  alive?: string | undefined;
}

/**
 * Waits until a process that is not our child has ended. The kernel tells only its parent, and Node has no pidfd: where
 * there is an `alive` FIFO its end tells, and what little is left of the process's end, or a process that let go of the
 * FIFO before its end, is looked at again and again, ever less often.
 * @throws {VmError} TIMEOUT, ABORTED
 */
export async function waitGone(identity: ProcessIdentity, options: WaitGoneOptions = {}): Promise<void> {
  const scope = callScope(`waiting for process ${identity.pid} to end`, options);
  try {
    // Also for a process that is dead already: its keeper may still be writing down how it ended.
    if (options.alive !== undefined) await untilSilent(options.alive, scope.signal);
    scope.throwIfEnded();
    for (let pauseMs = 1; isAlive(identity); pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
      await delay(pauseMs, undefined, { signal: scope.signal }).catch(() => scope.throwIfEnded());
    }
  } finally {
    scope.release();
  }
}
