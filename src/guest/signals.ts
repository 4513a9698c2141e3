import { VmError } from '../errors.ts';

// Linux' numbers on every architecture that polyvisor's guests have (x86-64, arm64); the host's own may differ.
const NAMES = (
  'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU ' +
  'URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS'
).split(' ');
const ALIASES: Readonly<Record<string, number>> = { SIGIOT: 6, SIGPOLL: 29, SIGUNUSED: 31 };

/** The highest signal number of Linux. */
export const MAX_SIGNAL = 64;

/** `SIGKILL` for 9; `SIG34` for one that has no name of its own. */
export function signalName(number: number): string {
  return `SIG${NAMES[number - 1] ?? number}`;
}

/**
 * The guest's number of a signal.
 * @throws {VmError} INVALID_ARGUMENT when it is not a signal of Linux
 */
export function signalNumber(signal: string | number): number {
  if (typeof signal !== 'string') {
    if (Number.isInteger(signal) && signal >= 1 && signal <= MAX_SIGNAL) return signal;
    throw new VmError(
      'INVALID_ARGUMENT',
      `a signal is a name, or a number from 1 to ${MAX_SIGNAL}, not ${String(signal)}`,
    );
  }
  const index = NAMES.indexOf(signal.replace(/^SIG/, ''));
  const number = Object.hasOwn(ALIASES, signal) ? (ALIASES[signal] ?? 0) : index + 1;
  if (number > 0 && signal.startsWith('SIG')) return number;
  throw new VmError('INVALID_ARGUMENT', `unknown signal ${JSON.stringify(signal)}`);
}
