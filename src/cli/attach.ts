import { pipeline } from 'node:stream/promises';
import { VmError } from '../errors.ts';
import type { Vm } from '../sandbox/vm.ts';
import { resultData } from './errors.ts';
import { type ExecFlags, execOptions, type GuestCommand, type GuestCommandOptions } from './exec-flags.ts';
import { exitCodes, isBrokenPipe } from './exit-codes.ts';
import type { Interrupts } from './interrupts.ts';
import { printJson } from './output.ts';
import { openTerminal } from './terminal.ts';

/** How a guest's command ended, as far as the command line cares. */
type Exit = Awaited<GuestCommand['exited']>;

/** A command to run with our own stdin, stdout and stderr. */
export interface Attachment {
  argv: readonly string[];
  flags: ExecFlags;
  interrupts: Interrupts;
  /** ms that are left of `--timeout` */
  timeoutMs: number | undefined;
}

/**
 * Runs a command in a guest as if it were one of the host: its streams are ours, with back-pressure, and its exit code becomes ours.
 * @throws {VmError} what `exec` rejects with; and EPIPE when nobody reads our output any more
 */
export async function attach(vm: Vm, attachment: Attachment): Promise<void> {
  const { flags, interrupts, timeoutMs } = attachment;
  const options: GuestCommandOptions = {
    ...execOptions(flags),
    stdin: flags.interactive === true ? 'pipe' : 'ignore',
    signal: interrupts.signal,
    timeoutMs,
  };
  const exit = await (flags.json === true ? collected(vm, attachment, options) : streamed(vm, attachment, options));
  process.exitCode = exit.timedOut ? exitCodes.timeout : exit.exitCode;
  if (exit.timedOut) throw new VmError('TIMEOUT', 'the command was ended: its time was over', { name: vm.name });
}

async function streamed(vm: Vm, { argv, flags, interrupts }: Attachment, options: GuestCommandOptions): Promise<Exit> {
  const input = flags.interactive === true ? process.stdin : undefined;
  const terminal = flags.tty === true ? openTerminal(input, process.stdout) : undefined;
  try {
    const command = vm.exec(argv, { ...options, ...(terminal === undefined ? {} : { pty: terminal.size }) });
    terminal?.onResize((rows, cols) => command.resize(rows, cols));
    const stopInput = feed(command);
    forward(command, interrupts);
    const { maxOutput } = flags;
    const outputs = [copy(command, 'stdout', maxOutput)];
    if (terminal === undefined) outputs.push(copy(command, 'stderr', maxOutput));
    const settled = await Promise.allSettled([command.exited, ...outputs]);
    stopInput();
    interrupts.forwardTo(undefined);
    const failures = settled.flatMap((it) => (it.status === 'rejected' ? [it.reason as unknown] : []));
    const worst = failures.find((reason) => isBrokenPipe(reason)) ?? failures[0];
    if (worst !== undefined) throw worst;
    return await command.exited;
  } finally {
    terminal?.close();
  }
}

async function collected(vm: Vm, { argv, interrupts }: Attachment, options: GuestCommandOptions): Promise<Exit> {
  const command = vm.exec(argv, options);
  const stopInput = feed(command);
  forward(command, interrupts);
  try {
    const result = await command;
    printJson({ name: vm.name, hypervisor: vm.hypervisor, ...resultData(result) });
    return result;
  } finally {
    stopInput();
    interrupts.forwardTo(undefined);
  }
}

/** A terminal's Ctrl-C goes to all of the foreground: so it does here. SIGTERM goes to the command itself, as with docker. */
function forward(command: GuestCommand, interrupts: Interrupts): void {
  // A command that has ended meanwhile needs no signal.
  interrupts.forwardTo((signal) => void command.kill(signal, { tree: signal === 'SIGINT' }).catch(() => undefined));
}

/** Sends our stdin, if the command wants one, until the returned function is called. */
function feed({ stdin }: GuestCommand): () => void {
  if (stdin === undefined) return () => undefined;
  const stop = (): void => {
    process.stdin.unpipe(stdin);
    // A stream that is paused keeps no process alive.
    process.stdin.pause();
  };
  // A command that reads no more is no failure, and neither is a stdin that can't be read: it ends there.
  stdin.on('error', stop);
  process.stdin.on('error', () => stdin.end());
  process.stdin.pipe(stdin);
  return stop;
}

/** Copies one output to ours. When nobody reads ours, the command is ended, as SIGPIPE would do. */
async function copy(command: GuestCommand, name: 'stdout' | 'stderr', most = Infinity): Promise<void> {
  try {
    await pipeline(command[name], (source: AsyncIterable<Buffer>) => within(source, name, most), process[name], {
      end: false,
    });
  } catch (error) {
    await command.cancel().catch(() => undefined);
    throw error;
  }
}

/** The first bytes of an output; that there are more is an error. */
async function* within(source: AsyncIterable<Buffer>, name: string, most: number): AsyncGenerator<Buffer> {
  let left = most;
  for await (const data of source) {
    if (data.length > left) {
      yield data.subarray(0, left);
      throw new VmError('OUTPUT_LIMIT', `the command wrote more than ${most} bytes to ${name}; it was ended`);
    }
    left -= data.length;
    yield data;
  }
}
