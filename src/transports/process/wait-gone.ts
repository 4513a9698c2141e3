import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { isAlive, type ProcessIdentity } from '../../state/process-identity.ts';

/** The longest pause between two looks, in ms. */
const maxPauseMs = 100;

/**
 * Waits until a process that is not our child has ended. The kernel tells only its parent, and Node has no pidfd, so
 * this looks again and again, ever less often.
 * @throws {VmError} TIMEOUT, ABORTED
 */
export async function waitGone(identity: ProcessIdentity, options: CallOptions = {}): Promise<void> {
  const scope = callScope(`waiting for process ${identity.pid} to end`, options);
  try {
    for (let pauseMs = 1; isAlive(identity); pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
      await delay(pauseMs, undefined, { signal: scope.signal }).catch(() => scope.throwIfEnded());
    }
  } finally {
    scope.release();
  }
}
