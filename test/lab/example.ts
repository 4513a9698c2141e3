import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

/** The example for all VMMs, as it is, on one of them. */
export function itRunsTheExample(type: string, pauses: 'done' | 'not on this VMM', program?: () => string): void {
  it(`${type}: runs the example`, async () => {
    const words = ['examples/any-hypervisor.js', type, ...(program === undefined ? [] : [program()])];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, words, { timeout: 300_000 });
    expect({ stdout, stderr }).toEqual({
      stdout: `a command ran on Linux\npause and resume: ${pauses}\nafterwards: still here\n`,
      stderr: '',
    });
  });
}
