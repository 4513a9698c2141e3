import { VmError } from '../errors.ts';

/** What every slow call takes. */
export interface CallOptions {
  /** ends the call with ABORTED */
  signal?: AbortSignal | undefined;
  /** milliseconds until the call ends with TIMEOUT; no limit by default unless the call says otherwise */
  timeoutMs?: number | undefined;
}

/** A deadline and a caller's signal as one AbortSignal, to be released when the call is over. */
export interface CallScope {
  readonly signal: AbortSignal;
  /** Throws TIMEOUT or ABORTED when the scope has ended. */
  throwIfEnded(): void;
  /** Settles with the promise, or rejects with TIMEOUT or ABORTED when the scope ends first. */
  race<T>(promise: Promise<T>): Promise<T>;
  release(): void;
}

/**
 * Opens a scope for one call.
 * @param what names the call in messages, such as `start of the VM`
 */
export function callScope(what: string, options: CallOptions = {}): CallScope {
  const { signal, timeoutMs } = options;
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= 2 ** 31 - 1)) {
    throw new VmError('INVALID_ARGUMENT', `timeoutMs must be above 0 and below 2^31, not ${timeoutMs}`);
  }
  const controller = new AbortController();
  // An outer scope that ended says why: its time-out must not look like an abort here.
  const aborted = (): void =>
    controller.abort(
      signal?.reason instanceof VmError
        ? signal.reason
        : new VmError('ABORTED', `${what} was aborted`, { cause: signal?.reason }),
    );
  let timer: NodeJS.Timeout | undefined;
  if (signal?.aborted === true) aborted();
  else {
    signal?.addEventListener('abort', aborted, { once: true });
    if (timeoutMs !== undefined) {
      timer = setTimeout(
        () => controller.abort(new VmError('TIMEOUT', `${what} took longer than ${timeoutMs} ms`)),
        timeoutMs,
      );
    }
  }
  return {
    signal: controller.signal,
    throwIfEnded: () => controller.signal.throwIfAborted(),
    race: async (promise) => {
      let onAbort: (() => void) | undefined;
      const ended = new Promise<never>((_, reject) => {
        onAbort = (): void => reject(VmError.from(controller.signal.reason));
        if (controller.signal.aborted) onAbort();
        else controller.signal.addEventListener('abort', onAbort, { once: true });
      });
      try {
        return await Promise.race([promise, ended]);
      } finally {
        if (onAbort !== undefined) controller.signal.removeEventListener('abort', onAbort);
      }
    },
    release: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
    },
  };
}

/**
 * Does something within a scope of its own. When that has ended, it is the reason of whatever went wrong.
 * @param what names the call in messages
 * @throws {VmError} TIMEOUT, ABORTED, and what `work` throws
 */
export async function inScope<T>(
  what: string,
  options: CallOptions,
  work: (call: CallOptions) => Promise<T>,
): Promise<T> {
  const scope = callScope(what, options);
  try {
    return await work({ signal: scope.signal });
  } catch (error) {
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}
