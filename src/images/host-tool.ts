import { spawn } from 'node:child_process';
import { VmError } from '../errors.ts';

/** How a program of the host is run. */
export interface ToolOptions {
  cwd?: string | undefined;
  signal?: AbortSignal | undefined;
  /** milliseconds; 5 minutes by default */
  timeoutMs?: number | undefined;
  /** most bytes of stdout that are kept; 4 MiB by default */
  maxBytes?: number | undefined;
  /** descriptor of a file that stdout goes to, for bytes; the result holds none of it */
  stdout?: number | undefined;
  /** called with each line of stdout as it comes */
  onLine?: ((line: string) => void) | undefined;
  /** how it is ended before its time; SIGKILL by default, SIGTERM for one that then clears up after itself */
  endWith?: 'SIGKILL' | 'SIGTERM' | undefined;
  /** what to do when the program is missing */
  advice?: string | undefined;
}

/** What a program said. `errors` holds the last 4 KiB of stderr. */
export interface ToolResult {
  exitCode: number;
  stdout: string;
  errors: string;
}

const errorTail = 4096;

/**
 * Runs a program of the host with no shell and in the C locale, and waits until it and everything that holds its output has ended.
 * A non-zero exit is a result.
 * @throws {VmError} HOST_MISSING when there is no such program; ABORTED; IMAGE_BUILD_FAILED when it takes too long, writes too much or is killed
 */
export async function runTool(
  program: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  const { cwd, signal, timeoutMs = 300_000, maxBytes = 4 << 20, endWith = 'SIGKILL', onLine } = options;
  if (signal?.aborted === true) throw aborted(signal);
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['ignore', options.stdout ?? 'pipe', 'pipe'],
  });
  let stdout = '';
  let errors = '';
  let partial = '';
  let failure: VmError | undefined;
  const end = (reason: VmError): void => {
    failure ??= reason;
    child.kill(endWith);
  };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length + text.length > maxBytes)
      return end(new VmError('IMAGE_BUILD_FAILED', `${program} wrote more than ${maxBytes} bytes`));
    stdout += text;
    if (onLine === undefined) return;
    const lines = (partial + text).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-errorTail);
  });
  const onAbort = (): void => end(aborted(signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(
    () => end(new VmError('IMAGE_BUILD_FAILED', `${program} took longer than ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    const [exitCode, killedBy] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.on('error', (cause: NodeJS.ErrnoException) => {
        if (cause.code !== 'ENOENT')
          return reject(new VmError('IMAGE_BUILD_FAILED', `cannot run ${program}: ${cause.message}`, { cause }));
        reject(new VmError('HOST_MISSING', `this host has no program ${program}`, { advice: options.advice, cause }));
      });
      child.on('close', (code, name) => resolve([code, name]));
    });
    if (failure !== undefined) throw failure;
    if (exitCode === null)
      throw new VmError('IMAGE_BUILD_FAILED', `${program} was killed by ${killedBy ?? 'a signal'}`, { log: errors });
    return { exitCode, stdout, errors };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function aborted(signal: AbortSignal | undefined): VmError {
  return signal?.reason instanceof VmError
    ? signal.reason
    : new VmError('ABORTED', 'the build of the image was aborted', { cause: signal?.reason });
}
