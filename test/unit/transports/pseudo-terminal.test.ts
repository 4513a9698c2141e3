import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { openPseudoTerminal } from '../../../src/transports/pseudo-terminal.ts';

/** How many descriptors of this process lead to a file. */
function descriptorsOf(path: string): number {
  const leads = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  };
  return readdirSync('/proc/self/fd').filter(leads).length;
}

test('a terminal passes on what its other end says, and leaves no descriptor behind', async () => {
  // script(1) holds the other end, and shows what is said on this one.
  const holder = spawn('script', ['-q', '-c', 'tty; exec sleep 60', '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const lines = createInterface(holder.stdout);
    const [path] = (await once(lines, 'line')) as [string];
    const terminal = openPseudoTerminal(path.trim());
    expect(descriptorsOf(path.trim())).toBe(1);
    const said = once(lines, 'line');
    terminal.write('hello\n');
    expect(((await said) as [string])[0].trim()).toBe('hello');
    const closed = once(terminal, 'close');
    terminal.destroy();
    await closed;
    expect(descriptorsOf(path.trim())).toBe(0);
  } finally {
    const ended = once(holder, 'close');
    holder.kill('SIGKILL');
    await ended;
  }
});

test('one that is not there', () => {
  expect(() => openPseudoTerminal('/dev/pts/4096')).toThrow(/VMM_GONE/);
});
