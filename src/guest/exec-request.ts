import { constants } from 'node:buffer';
import { Readable } from 'node:stream';
import { VmError } from '../errors.ts';
import type { ExecOptions } from './agent.ts';

const DEFAULT_MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_MEMORY_MIB = 2 ** 32;
const MAX_PIDS = 2 ** 22;
const MIN_CPUS = 0.01;
const MAX_CPUS = 65_536;
const MAX_TERMINAL_SIDE = 65_535;

/** Where a command's input comes from, if not from the handle's `stdin`. */
export type StdinSource = Readable | AsyncIterable<string | Uint8Array>;

/** The arguments of `exec`, checked and with the defaults filled in. */
export interface ExecRequest {
  argv: readonly [string, ...string[]];
  cwd: string | undefined;
  /** `K=V` */
  env: readonly string[];
  user: string | undefined;
  stdin: 'ignore' | 'pipe' | Buffer | StdinSource;
  pty: { rows: number; cols: number } | undefined;
  check: boolean;
  maxOutputBytes: number;
  encoding: 'utf8' | 'buffer';
  detach: boolean;
  maxPids: number | undefined;
  maxMemoryBytes: number | undefined;
  maxCpuThousandths: number | undefined;
  signal: AbortSignal | undefined;
  timeoutMs: number | undefined;
}

/**
 * Checks the arguments of `exec`. Values of the environment never get into a message.
 * @throws {VmError} INVALID_ARGUMENT naming the argument
 */
export function execRequest(command: string | readonly string[], options: ExecOptions = {}): ExecRequest {
  const detach = flag('detach', options.detach);
  const pty = terminal(options.pty);
  const stdin = input(options.stdin);
  if (detach && pty !== undefined) throw invalid('pty', 'a detached command has no terminal');
  if (detach && stdin !== 'ignore') throw invalid('stdin', 'a detached command has no input');
  return {
    argv: argv(command),
    cwd: options.cwd === undefined ? undefined : text('cwd', options.cwd),
    env: environment(options.env ?? {}),
    user: options.user === undefined ? undefined : text('user', options.user),
    stdin,
    pty,
    check: flag('check', options.check),
    maxOutputBytes:
      integer('maxOutputBytes', options.maxOutputBytes, 0, constants.MAX_STRING_LENGTH) ?? DEFAULT_MAX_OUTPUT_BYTES,
    encoding: encoding(options.encoding),
    detach,
    maxPids: integer('maxPids', options.maxPids, 1, MAX_PIDS),
    maxMemoryBytes: mebibytes(options.maxMemoryMiB),
    maxCpuThousandths: thousandths(options.maxCpus),
    signal: options.signal,
    timeoutMs: integer('timeoutMs', options.timeoutMs, 1, MAX_TIMEOUT_MS),
  };
}

/** A whole number in its range, or undefined. */
export function integer(field: string, value: number | undefined, min: number, max: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return value;
  throw invalid(field, `must be a whole number from ${min} to ${max}, not ${String(value)}`);
}

/** The size of a terminal. */
export function terminalSize(rows: number, cols: number): { rows: number; cols: number } {
  return {
    rows: integer('rows', rows, 1, MAX_TERMINAL_SIDE) ?? Number.NaN,
    cols: integer('cols', cols, 1, MAX_TERMINAL_SIDE) ?? Number.NaN,
  };
}

function argv(command: string | readonly string[]): [string, ...string[]] {
  if (typeof command === 'string') return ['/bin/sh', '-c', text('command', command)];
  if (!Array.isArray(command)) throw invalid('command', 'must be a string or an array of strings');
  const [program, ...rest] = command as readonly unknown[];
  if (program === undefined) throw invalid('command', 'must name a program');
  return [text('command[0]', program), ...rest.map((arg, index) => clean(`command[${index + 1}]`, arg))];
}

function environment(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).map(([name, value]) => {
    if (name === '' || /[=\0]/.test(name)) throw invalid('env', `${JSON.stringify(name)} is no name of a variable`);
    if (typeof value !== 'string') throw invalid('env', `the value of ${name} must be a string`);
    if (value.includes('\0')) throw invalid('env', `the value of ${name} holds a NUL character`);
    return `${name}=${value}`;
  });
}

function input(stdin: ExecOptions['stdin']): ExecRequest['stdin'] {
  if (stdin === undefined || stdin === 'ignore') return 'ignore';
  if (stdin === 'pipe') return 'pipe';
  if (typeof stdin === 'string') return Buffer.from(stdin, 'utf8');
  if (stdin instanceof Uint8Array) return Buffer.from(stdin);
  if (stdin instanceof Readable || (typeof stdin === 'object' && stdin !== null && Symbol.asyncIterator in stdin))
    return stdin;
  throw invalid('stdin', "must be 'ignore', 'pipe', a string, bytes, a Readable or an async iterable");
}

function terminal(pty: ExecOptions['pty']): ExecRequest['pty'] {
  if (pty === undefined || pty === false) return undefined;
  if (pty === true) return { rows: 24, cols: 80 };
  if (typeof pty !== 'object' || pty === null) throw invalid('pty', 'must be a boolean or { rows, cols }');
  const { rows, cols } = terminalSize(pty.rows, pty.cols);
  if (!(rows > 0 && cols > 0)) throw invalid('pty', 'must have both rows and cols');
  return { rows, cols };
}

function encoding(value: ExecOptions['encoding']): 'utf8' | 'buffer' {
  if (value === undefined || value === 'utf8' || value === 'buffer') return value ?? 'utf8';
  throw invalid('encoding', "must be 'utf8' or 'buffer'");
}

function thousandths(cpus: number | undefined): number | undefined {
  if (cpus === undefined) return undefined;
  if (typeof cpus !== 'number' || !(cpus >= MIN_CPUS && cpus <= MAX_CPUS))
    throw invalid('maxCpus', `must be a number from ${MIN_CPUS} to ${MAX_CPUS}`);
  return Math.round(cpus * 1000);
}

function mebibytes(value: number | undefined): number | undefined {
  const mib = integer('maxMemoryMiB', value, 1, MAX_MEMORY_MIB);
  return mib === undefined ? undefined : mib * 1024 * 1024;
}

function flag(field: string, value: boolean | undefined): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw invalid(field, 'must be true or false');
}

function text(field: string, value: unknown): string {
  const checked = clean(field, value);
  if (checked === '') throw invalid(field, 'must not be empty');
  return checked;
}

function clean(field: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(field, 'must be a string');
  if (value.includes('\0')) throw invalid(field, 'holds a NUL character');
  return value;
}

function invalid(field: string, problem: string): VmError {
  return new VmError('INVALID_ARGUMENT', `${field}: ${problem}`, { operation: 'exec', field });
}
