import { Readable } from 'node:stream';
import type { Output } from './output.ts';

const BUFFER_BYTES = 65_536;

/**
 * An output as a stream. It takes from the output only what fits its own buffer of 64 KiB. It ends with the output, or is destroyed
 * with the reason when the guest was lost. Destroying it drops the rest; the process goes on.
 */
export function outputStream(output: Output): Readable {
  const readable: Readable = new Readable({
    highWaterMark: BUFFER_BYTES,
    read: () => read(),
    destroy: (error, done) => {
      output.discard();
      done(error);
    },
  });
  // The command's own promise tells the same: a stream nobody listens to must not end the host's process.
  readable.on('error', () => {});
  const read = outputReader(output, readable);
  return readable;
}

/** Makes the `read` of a stream that gives what an output holds, as it is asked for. */
export function outputReader(output: Output, target: Readable): () => void {
  let wanted = false;
  const pull = (): void => {
    while (wanted && !target.destroyed) {
      const data = output.take();
      if (data === undefined) break;
      wanted = target.push(data);
    }
    if (!wanted || target.destroyed || !output.ended || output.headSeq !== Infinity) return;
    wanted = false;
    if (output.error === undefined) target.push(null);
    else target.destroy(output.error);
  };
  output.listen(() => {
    try {
      pull();
    } catch (error) {
      // A listener of the user's has thrown: that is for the process to hear, not for the session that delivers.
      queueMicrotask(() => {
        throw error;
      });
    }
  });
  return () => {
    wanted = true;
    pull();
  };
}
