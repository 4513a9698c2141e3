import { readFileSync } from 'node:fs';
import { VmError } from '../errors.ts';

/**
 * The environment of a guest command, as docker reads it: the files first, then the single words, the later one wins. `K=V` sets;
 * `K` alone takes the host's value, and is left out when the host has none. In a file, lines that are empty or begin with `#` are
 * passed over; quotes have no meaning.
 * @throws {VmError} INVALID_ARGUMENT for a word without a name, FILE_NOT_FOUND and FILE_UNREADABLE for a file
 */
export function guestEnvironment(
  words: readonly string[],
  files: readonly string[],
  host: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const lines = files.flatMap((file) => linesOf(file).map((text) => ({ text, where: `${file}: ` })));
  // Without a prototype: a variable may well be called `constructor` or `__proto__`.
  const environment = Object.create(null) as Record<string, string>;
  for (const { text, where } of [...lines, ...words.map((word) => ({ text: word, where: '' }))]) {
    const at = text.indexOf('=');
    const name = at < 0 ? text : text.slice(0, at);
    if (name === '' || name.startsWith('-') || /\s/.test(name)) {
      throw new VmError(
        'INVALID_ARGUMENT',
        `${where}${JSON.stringify(text)} does not begin with the name of a variable`,
        {
          advice: 'Write NAME=VALUE, or NAME alone for the value that it has here.',
        },
      );
    }
    const value = at < 0 ? host[name] : text.slice(at + 1);
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

function linesOf(file: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8').split(/\r?\n/);
    return lines
      .filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'))
      .map((line) => line.trimStart());
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const missing = code === 'ENOENT';
    throw new VmError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `cannot read the file of variables: ${message}`, {
      path: file,
      errno: code,
      cause,
    });
  }
}
