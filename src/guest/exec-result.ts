import { VmError } from '../errors.ts';
import type { ExecError, ExecExit, ExecResult } from './agent.ts';
import { printable } from './printable.ts';

const LOG_LINES = 20;
const LOG_BYTES = 4096;

export function execResult(
  exit: ExecExit,
  stdoutBytes: Buffer,
  stderrBytes: Buffer,
  encoding: 'utf8' | 'buffer',
  durationMs: number,
): ExecResult {
  const text = (bytes: Buffer): string => (encoding === 'utf8' ? bytes.toString('utf8') : '');
  return { ...exit, stdout: text(stdoutBytes), stderr: text(stderrBytes), stdoutBytes, stderrBytes, durationMs };
}

/** NONZERO_EXIT, with the last lines of stderr. */
export function nonzeroExit(program: string, result: ExecResult): ExecError {
  const how = result.signal === undefined ? `exit code ${result.exitCode}` : result.signal;
  const error = new VmError('NONZERO_EXIT', `${JSON.stringify(printable(program))} ended with ${how}`, {
    operation: 'exec',
    path: program,
    exitCode: result.exitCode,
    signal: result.signal,
    log: lastLines(result.stderrBytes),
  });
  return withResult(error, result);
}

/** The error with what the command had written until its end. */
export function withResult(error: VmError, result: ExecResult): ExecError {
  // Not enumerable: megabytes of output have no place in a printed error.
  Object.defineProperty(error, 'result', { value: result, configurable: true });
  return error as ExecError;
}

function lastLines(bytes: Buffer): string | undefined {
  const lines = bytes
    .subarray(Math.max(0, bytes.length - LOG_BYTES))
    .toString('utf8')
    .split('\n');
  const text = lines
    .map((line) => printable(line))
    .filter((line) => line !== '')
    .slice(-LOG_LINES)
    .join('\n');
  return text === '' ? undefined : text;
}
