/** Characters that no POSIX shell gives a meaning to, wherever they stand in a word. */
const plain = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word as a POSIX shell reads it back. */
export function shellQuote(word: string): string {
  return plain.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** An argv as lines: an option and its values on each, so that two of them can be compared line by line. */
export function argumentLines(argv: readonly string[]): string[] {
  const lines: string[][] = [];
  for (const word of argv) {
    const last = lines.at(-1);
    if (last === undefined || word.startsWith('-')) lines.push([word]);
    else last.push(word);
  }
  return lines.map((words) => words.map(shellQuote).join(' '));
}

/** A command as a shell takes it, one option per line. */
export function commandText(binary: string, argv: readonly string[]): string {
  return [shellQuote(binary), ...argumentLines(argv).map((line) => `  ${line}`)].join(' \\\n');
}
