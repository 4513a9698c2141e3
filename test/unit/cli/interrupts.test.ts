import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { interruptible, Interrupts } from '../../../src/cli/interrupts.ts';
import { VmError } from '../../../src/errors.ts';

let interrupts: Interrupts;
beforeEach(() => {
  interrupts = new Interrupts();
});
afterEach(() => {
  interrupts.close();
  process.exitCode = undefined;
});
const raise = (signal: NodeJS.Signals): boolean => process.emit(signal, signal);

it('ends all at once when no command runs', () => {
  raise('SIGTERM');
  expect(interrupts.signal.aborted).toBe(true);
  expect(interrupts.exitCode).toBe(143);
});

it('gives the first signal to the command and ends all at the second', () => {
  const command = vi.fn<(signal: string) => void>();
  interrupts.forwardTo(command);
  raise('SIGINT');
  expect(command.mock.calls).toEqual([['SIGINT']]);
  expect(interrupts.signal.aborted).toBe(false);
  expect(interrupts.exitCode).toBeUndefined();
  raise('SIGINT');
  expect(command).toHaveBeenCalledTimes(1);
  expect(interrupts.signal.aborted).toBe(true);
  expect(interrupts.exitCode).toBe(130);
});

it('ends all when the terminal hangs up, and when the command is over', () => {
  interrupts.forwardTo(vi.fn<() => void>());
  raise('SIGHUP');
  expect(interrupts.exitCode).toBe(129);
});

it('leaves at once when even the end is interrupted', () => {
  const exit = vi.spyOn(process, 'exit').mockImplementation(() => undefined as never);
  raise('SIGINT');
  raise('SIGTERM');
  expect(exit.mock.calls).toEqual([[130]]);
  exit.mockRestore();
});

it('listens to nothing when it is closed', () => {
  const before = process.listenerCount('SIGINT');
  interrupts.close();
  expect(process.listenerCount('SIGINT')).toBe(before - 1);
});

it('is silent about work that a signal ended, and about nothing else', async () => {
  interrupts.close();
  await interruptible(async ({ signal }) => {
    raise('SIGTERM');
    throw signal.reason;
  });
  expect(process.exitCode).toBe(143);
  await expect(interruptible(() => Promise.reject(new VmError('ABORTED', 'by someone else')))).rejects.toThrow(
    'ABORTED',
  );
  const failing = interruptible(() => {
    raise('SIGTERM');
    return Promise.reject(new VmError('IO', 'cannot remove'));
  });
  await expect(failing).rejects.toThrow('IO: cannot remove');
});
