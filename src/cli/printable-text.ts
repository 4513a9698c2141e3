import { Transform } from 'node:stream';

/** Everything but line feed, tab and what is seen. */
const unseen = /[^\P{C}\n\t]/gu;

/** Takes the control characters out of a log, so that it can be shown on a terminal. */
export function printableText(): Transform {
  const decoder = new TextDecoder();
  return new Transform({
    transform: (chunk: Buffer, _, done) => done(null, decoder.decode(chunk, { stream: true }).replace(unseen, '')),
    flush: (done) => done(null, decoder.decode().replace(unseen, '')),
  });
}
