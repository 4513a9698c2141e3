import { once } from 'node:events';
import type { CallOptions } from '../../config/call-options.ts';
import { callScope } from '../../config/call-options.ts';
import type { Param } from '../../config/kernel-params.ts';
import { VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/**
 * Fails as the user of the mock told it to, by `hypervisorParams`: `fail=OPERATION` rejects with VMM_FAILED, `hang=OPERATION`
 * never answers (until the call's signal or time-out), `die=OPERATION` ends the VMM first.
 */
export async function failAsTold(
  operation: string,
  params: readonly Param[],
  options: CallOptions,
  die: () => Promise<void>,
): Promise<void> {
  for (const { key, value } of params) {
    if (value !== operation) continue;
    if (key === 'fail') throw new VmError('VMM_FAILED', `the mock was told to fail at ${operation}`);
    if (key === 'die') {
      await die();
      throw new VmError('VMM_GONE', `the mock was told to die at ${operation}`);
    }
    if (key === 'hang') {
      const scope = callScope(operation, options);
      try {
        if (!scope.signal.aborted) await once(scope.signal, 'abort');
        scope.throwIfEnded();
      } finally {
        scope.release();
      }
    }
  }
}

/** The agent ended before it was ready. */
export function startFailure(exit: VmmExit, log: string): VmError {
  const how = exit.signal === undefined ? `with exit code ${exit.code ?? 'unknown'}` : `by ${exit.signal}`;
  return new VmError('START_FAILED', `the mock ended ${how} before it answered`, {
    exitCode: exit.code,
    signal: exit.signal,
    log,
  });
}
