import { describe, expect, it } from 'vitest';
import { likelyCause, panicIn } from '../../../src/hypervisors/console-signs.ts';

describe('a panic', () => {
  it.each([
    [
      '[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n[ 2.2] CPU: 0',
      'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
    ],
    [
      'x\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000100',
      'Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100',
    ],
    ['Kernel panic - not syncing: first\nKernel panic - not syncing: second', 'Kernel panic - not syncing: first'],
  ])('is found in %j', (console, line) => {
    expect(panicIn(console)).toBe(line);
    expect(likelyCause(console, 'tcg').cause).toBe(line);
  });

  it.each(['', 'all is well', 'kernel panic', 'panic=-1 in the command line'])('is not seen in %j', (console) => {
    expect(panicIn(console)).toBeUndefined();
  });
});

describe('the likely cause', () => {
  it.each([
    ['', 'kvm', /printed nothing/, /accel: tcg/],
    [' \n', 'tcg', /printed nothing/, /console=ttyS0/],
    ['Welcome to some Linux', 'tcg', /no agent of ours/, /startTimeoutMs/],
    ['polyvisor-agent: ready', 'kvm', /did not answer on its channel/, /virtio_console/],
  ])('of %j under %s', (console, accel, cause, advice) => {
    const found = likelyCause(console, accel);
    expect(found.cause).toMatch(cause);
    expect(found.advice).toMatch(advice);
  });
});
