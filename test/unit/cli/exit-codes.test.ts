import { expect, it } from 'vitest';
import { exitCodeOf, isBrokenPipe } from '../../../src/cli/exit-codes.ts';
import { type ErrorCode, errorCodes, VmError } from '../../../src/errors.ts';

it('gives the codes of docker and timeout to four errors, and 125 to all others', () => {
  const special: Partial<Record<ErrorCode, number>> = { GUEST_NOT_FOUND: 127, GUEST_NOT_EXECUTABLE: 126, TIMEOUT: 124 };
  for (const code of Object.keys(errorCodes) as ErrorCode[]) {
    expect([code, exitCodeOf(new VmError(code, 'x'))]).toEqual([code, special[code] ?? 125]);
  }
  expect(exitCodeOf(new TypeError('x'))).toBe(125);
  expect(exitCodeOf(undefined)).toBe(125);
});

it('takes a closed pipe and a hung-up terminal for the end of the reader', () => {
  const error = (code: string, syscall: string): Error => Object.assign(new Error(code), { code, syscall });
  expect(exitCodeOf(error('EPIPE', 'write'))).toBe(141);
  expect(exitCodeOf(error('EIO', 'write'))).toBe(141);
  expect(isBrokenPipe(error('EIO', 'read'))).toBe(false);
  expect(isBrokenPipe(error('ENOSPC', 'write'))).toBe(false);
});
