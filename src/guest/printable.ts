// C0, DEL, C1, line separators, and the marks that change the direction of text on a terminal.
// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+/g;

/**
 * A text from the guest made fit for messages and terminals: one line, no control characters, cut.
 * @param limit longest result, in UTF-16 units; 256 by default
 */
export function printable(text: string, limit: number = 256): string {
  const line = text
    .slice(0, limit * 4)
    .replace(UNSAFE, ' ')
    .trim();
  return line.length <= limit ? line : `${line.slice(0, limit - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}
