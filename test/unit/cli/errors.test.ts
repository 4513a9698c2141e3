import { expect, it } from 'vitest';
import { errorData, errorText } from '../../../src/cli/errors.ts';
import { VmError } from '../../../src/errors.ts';

const plain = { colour: false };

it('tells the code, the last words of VMM and guest, then what to do', () => {
  const error = new VmError('START_FAILED', 'the VMM ended', {
    log: 'one\ntwo\n',
    console: 'boot\n',
    advice: 'Do this.',
  });
  expect(errorText(error, plain)).toBe(
    [
      'polyvisor: START_FAILED: the VMM ended',
      "the VMM's last lines:",
      '  | one',
      '  | two',
      "the console's last lines:",
      '  | boot',
      'advice: Do this.',
      '',
    ].join('\n'),
  );
});

it('leaves out words that are empty, and falls back on the advice of the code', () => {
  const text = errorText(new VmError('NOT_FOUND', 'there is no VM named x', { log: ' \n', console: '' }), plain);
  expect(text).toBe('polyvisor: NOT_FOUND: there is no VM named x\nadvice: `polyvisor ls -a` lists the names.\n');
});

it("puts the library's advice in the words of the command line", () => {
  expect(errorText(new VmError('TIMEOUT', 'too slow'), plain)).toContain('advice: Give more time with `--timeout`.');
  expect(errorText(new VmError('START_TIMEOUT', 'too slow'), plain)).toContain('`--start-timeout`');
  expect(errorData(new VmError('HYPERVISOR_NOT_FOUND', 'x'))).toMatchObject({
    error: { advice: expect.stringContaining('`--hypervisor-path`') },
  });
});

it('shows the stack of what is a fault of ours', () => {
  const text = errorText(new TypeError('oops'), plain);
  expect(text).toMatch(/^polyvisor: INTERNAL: oops\n {4}at /);
});

it('takes an output that cannot be written for no fault of ours', () => {
  const error = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
    syscall: 'write',
  });
  expect(errorText(error, plain)).toMatch(/^polyvisor: IO: the output cannot be written: ENOSPC/);
});

it('colours only when it may', () => {
  const error = new VmError('NOT_FOUND', 'x');
  expect(errorText(error, plain)).not.toContain('\u001B');
  expect(errorText(error, { colour: true })).toContain('\u001B[31mpolyvisor:\u001B[0m');
});

it('is data with all facts, and with what a command had written', () => {
  const result = { exitCode: 137, timedOut: true, oomKilled: false, stdout: 'out', stderr: '', durationMs: 1.6 };
  const bytes = { stdoutBytes: Buffer.from('out'), stderrBytes: Buffer.alloc(0) };
  const error = Object.assign(new VmError('TIMEOUT', 'too slow', { operation: 'exec', path: 'sh' }), {
    result: { ...result, ...bytes },
  });
  expect(errorData(error)).toEqual({
    ...result,
    durationMs: 2,
    error: {
      code: 'TIMEOUT',
      message: 'too slow',
      advice: 'Give more time with `--timeout`.',
      operation: 'exec',
      path: 'sh',
    },
  });
});
