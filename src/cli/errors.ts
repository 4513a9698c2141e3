import { VmError } from '../errors.ts';
import type { GuestCommand } from './exec-flags.ts';

/** What awaiting a command in a guest gives. */
type GuestResult = Awaited<GuestCommand>;

/** Options of the library that advice names, and what they are called on the command line. */
const optionNames: ReadonlyMap<string, string> = new Map([
  ['timeoutMs', '--timeout'],
  ['startTimeoutMs', '--start-timeout'],
  ['hypervisorPath', '--hypervisor-path'],
  ['kernel', '--kernel'],
  ['initrd', '--initrd'],
  ['accel: auto', '--accel auto'],
  ['accel: tcg', '--accel tcg'],
]);

/** How an error is shown. */
export interface ErrorStyle {
  colour: boolean;
}

/**
 * An error as text for a terminal: its code and message, the last words of VMM and guest, then what to do about it.
 * Anything that is no VmError is a fault of ours and comes with its stack.
 */
export function errorText(error: unknown, { colour }: ErrorStyle): string {
  const known = asVmError(error);
  const { log, console: guest } = known.facts;
  const lines = [`${paint('polyvisor:', '31', colour)} ${known.code}: ${known.rawMessage}`];
  lines.push(...quoted("the VMM's last lines", log), ...quoted("the console's last lines", guest));
  if (known.code === 'INTERNAL') lines.push(...stackOf(error));
  else lines.push(`${paint('advice:', '1', colour)} ${adviceOf(known)}`);
  return `${lines.join('\n')}\n`;
}

/** An error as data, for `--json`; with what a command had written until it was ended. */
export function errorData(error: unknown): Record<string, unknown> {
  const known = asVmError(error);
  const { advice: _, ...facts } = known.facts;
  const data = { error: { code: known.code, message: known.rawMessage, advice: adviceOf(known), ...facts } };
  const { result } = known as VmError & { result?: GuestResult };
  return result === undefined ? data : { ...resultData(result), ...data };
}

/** How a command ended, and its output as text, as data. */
export function resultData(result: GuestResult): Omit<GuestResult, 'stdoutBytes' | 'stderrBytes'> {
  const { stdoutBytes: _, stderrBytes: __, ...data } = result;
  return { ...data, durationMs: Math.round(data.durationMs) };
}

function asVmError(error: unknown): VmError {
  const { syscall, code, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (syscall === 'write' && !(error instanceof VmError)) {
    const advice = 'Look at what the output goes to: a full disk, for example.';
    return new VmError('IO', `the output cannot be written: ${message}`, { errno: code, advice, cause: error });
  }
  return VmError.from(error);
}

/** The library's advice in the words of the command line. */
function adviceOf({ advice }: VmError): string {
  return inOurWords(advice);
}

/** Options of the library by the names that they have on the command line. */
export function inOurWords(advice: string): string {
  return [...optionNames].reduce((text, [field, flag]) => text.replaceAll(`\`${field}\``, `\`${flag}\``), advice);
}

function quoted(title: string, text: string | undefined): string[] {
  if (text === undefined || text.trim() === '') return [];
  return [
    `${title}:`,
    ...text
      .trimEnd()
      .split('\n')
      .map((line) => `  | ${line}`),
  ];
}

function stackOf(error: unknown): string[] {
  const source = error instanceof VmError ? (error.cause ?? error) : error;
  if (!(source instanceof Error) || source.stack === undefined) return [];
  return source.stack.split('\n').slice(1);
}

function paint(text: string, code: string, colour: boolean): string {
  return colour ? `\u001B[${code}m${text}\u001B[0m` : text;
}
