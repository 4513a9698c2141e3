import { Transform } from 'node:stream';

// Sequences that steer a terminal: CSI (colours, cursor), OSC and its kin up to their end, and two-byte escapes.
// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const sequences = /\u001B(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001B]*(?:\u0007|\u001B\\)|[ -/]*[0-OQ-WYZ`-~])/gu;
/** Everything but line feed, tab and what is seen. */
const unseen = /[^\P{C}\n\t]/gu;
/** A sequence that has not ended after so many characters is none. */
const longestSequence = 256;

/** Takes the control characters out of a log, and what they steer a terminal with, so that it can be shown on one. */
export function printableText(): Transform {
  const decoder = new TextDecoder();
  let held = '';
  const show = (text: string, isLast: boolean): string => {
    const plain = (held + text).replace(sequences, '');
    // What may be the beginning of a sequence waits for its rest.
    const open = plain.lastIndexOf('\u001B');
    const cut = isLast || open < 0 || plain.length - open > longestSequence ? plain.length : open;
    held = plain.slice(cut);
    return plain.slice(0, cut).replace(unseen, '');
  };
  return new Transform({
    transform: (chunk: Buffer, _, done) => done(null, show(decoder.decode(chunk, { stream: true }), false)),
    flush: (done) => done(null, show(decoder.decode(), true)),
  });
}
