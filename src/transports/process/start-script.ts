import { VmError } from '../../errors.ts';
import { isShellName } from './shell-environment.ts';

/** How a keeper's child becomes a program. */
export interface ProgramStart {
  /** the program, an absolute path, and its arguments */
  argv: readonly string[];
  /** the program's whole environment; nothing of ours is added (bash adds SHLVL and _, where it is the shell) */
  env?: Readonly<Record<string, string>> | undefined;
  /** default `/` */
  cwd?: string | undefined;
  /** commands that the child runs first, each of which must succeed */
  preparation?: readonly (readonly string[])[] | undefined;
  /** command in front of the program, which ends by running what follows it */
  through?: readonly string[] | undefined;
  /** most bytes that a file may grow to by the program's writing: a write beyond fails with EFBIG. No limit by default */
  maxFileBytes?: number | undefined;
}

/**
 * Shell text by which a keeper's second part learns of its program: a function, so that it is read before the child is there. Every
 * word of the caller's stands in single quotes, in which a shell finds nothing of its own (POSIX, 2.2.2). Pure.
 * @param inherited names of variables that the keeper has, and the program does not get
 * @throws {VmError} INVALID_ARGUMENT
 */
export function startScript(start: ProgramStart, inherited: readonly string[] = []): string {
  const { argv, env = {}, cwd = '/', preparation = [], through = [], maxFileBytes = 0 } = start;
  return `${[
    'become_program() {',
    // XFSZ: a write beyond the limit then fails, instead of ending who writes.
    ...(maxFileBytes > 0 ? [fileLimit(maxFileBytes), "trap '' XFSZ"] : []),
    ...preparation.map((command) => `${words(command)} || exit`),
    `cd -- ${word(cwd)} || exit`,
    // The keeper's, which are ours, and what a shell exports by itself.
    `unset PWD OLDPWD SHLVL PATH LC_ALL ${inherited.join(' ')}`,
    ...Object.entries(env).map(([name, value]) => `export ${variable(name)}=${word(value)}`),
    `exec ${words([...through, ...argv])}`,
    '}',
  ].join('\n')}\n`;
}

/** MAX_ARG_STRLEN (execve(2)), with the zero at its end. */
const maxWordBytes = 131_072;

function words(all: readonly string[]): string {
  return all.map(word).join(' ');
}

function word(text: string): string {
  if (text.includes('\0'))
    throw new VmError('INVALID_ARGUMENT', `no word of a command line can hold a zero byte: ${JSON.stringify(text)}`);
  if (Buffer.byteLength(text) >= maxWordBytes)
    throw new VmError('INVALID_ARGUMENT', `no word of a command line can have ${Buffer.byteLength(text)} bytes`);
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** A name that a shell can export. */
function variable(name: string): string {
  if (isShellName(name)) return name;
  throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(name)} can't be the name of an environment variable`);
}

/** In the unit of `ulimit -f` (POSIX: 512 bytes); the hard limit where that is lower, beyond which nobody gets. */
function fileLimit(bytes: number): string {
  return `ulimit -S -f ${Math.floor(bytes / 512)} 2>/dev/null || ulimit -S -f "$(ulimit -H -f)"`;
}
