import { Readable } from 'node:stream';
import type { Output } from './output.ts';

const BUFFER_BYTES = 65_536;

/**
 * An output as a stream. It takes from the output only what fits its own buffer of 64 KiB. It ends with the output, or is destroyed
 * with the reason when the guest was lost. Destroying it drops the rest; the process goes on.
 */
export function outputStream(output: Output): Readable {
  let wanted = false;
  const pull = (): void => {
    while (wanted) {
      const data = output.take();
      if (data === undefined) break;
      wanted = readable.push(data);
    }
    if (!wanted || !output.ended || output.headSeq !== Infinity) return;
    wanted = false;
    if (output.error === undefined) readable.push(null);
    else readable.destroy(output.error);
  };
  const readable = new Readable({
    highWaterMark: BUFFER_BYTES,
    read: () => {
      wanted = true;
      pull();
    },
    destroy: (error, done) => {
      wanted = false;
      output.discard();
      done(error);
    },
  });
  // The command's own promise tells the same: a stream nobody listens to must not end the host's process.
  readable.on('error', () => {});
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
  return readable;
}
