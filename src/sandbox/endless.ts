/**
 * An iteration that goes on until the caller's signal comes or the caller leaves it: both end it at once, also while the next value
 * is awaited, and neither is an error. Nothing is produced before it is asked for, so nothing piles up.
 * @param produce ends soon after its signal has come
 */
export function endless<T>(
  signal: AbortSignal | undefined,
  produce: (signal: AbortSignal) => AsyncGenerator<T, void>,
): AsyncIterableIterator<T> {
  const over = new AbortController();
  const end = (): void => over.abort();
  if (signal?.aborted === true) end();
  else signal?.addEventListener('abort', end, { once: true });
  const values = produce(over.signal);
  const finish = <R extends IteratorResult<T>>(result: R): R => {
    if (result.done === true) signal?.removeEventListener('abort', end);
    return result;
  };
  const iteration: AsyncIterableIterator<T> = {
    next: async () => {
      if (over.signal.aborted) return finish(await values.return());
      try {
        return finish(await values.next());
      } catch (error) {
        signal?.removeEventListener('abort', end);
        throw error;
      }
    },
    return: async () => {
      end();
      return finish(await values.return());
    },
    [Symbol.asyncIterator]: () => iteration,
  };
  return iteration;
}
