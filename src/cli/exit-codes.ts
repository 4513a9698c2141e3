import { VmError } from '../errors.ts';

/** What the command line program exits with when it isn't a guest's own exit code: docker's and timeout(1)'s habits. */
export const exitCodes = {
  ok: 0,
  /** the command line itself is wrong */
  usage: 2,
  /** the time of `--timeout` was over */
  timeout: 124,
  /** polyvisor or the VMM failed */
  ours: 125,
  /** the guest has the program but may not execute it */
  notExecutable: 126,
  /** the guest has no such program */
  notFound: 127,
  /** whoever read our output has gone: 128 + SIGPIPE */
  brokenPipe: 141,
} as const;

/** The exit code for an error that ends a command. */
export function exitCodeOf(error: unknown): number {
  const code = error instanceof VmError ? error.code : undefined;
  if (code === 'GUEST_NOT_FOUND') return exitCodes.notFound;
  if (code === 'GUEST_NOT_EXECUTABLE') return exitCodes.notExecutable;
  if (code === 'TIMEOUT') return exitCodes.timeout;
  return isBrokenPipe(error) ? exitCodes.brokenPipe : exitCodes.ours;
}

/** Whether an error says that the reader of our output has gone: a closed pipe, or a terminal that was hung up. */
export function isBrokenPipe(error: unknown): boolean {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  return code === 'EPIPE' || (code === 'EIO' && syscall === 'write');
}
