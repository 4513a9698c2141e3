import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { attachConsole } from '../../src/sandbox/console.ts';
import type { Vm } from '../../src/sandbox/vm.ts';
import { codeOf } from '../fakes/failure.ts';
import { withGuest } from './guest.ts';

const program = new URL('../../bin/polyvisor.js', import.meta.url).pathname;

async function until(console: Duplex, words: string): Promise<string> {
  let seen = '';
  for await (const piece of console.iterator({ destroyOnReturn: false })) {
    seen += String(piece);
    if (seen.includes(words)) return seen;
  }
  throw new Error(`the console ended after ${JSON.stringify(seen)}`);
}

async function answersOneAtATime(vm: Vm): Promise<void> {
  const console = await vm.console();
  try {
    console.write('echo answer $((6 * 7)) on $(tty)\n');
    expect(await until(console, 'answer 42 on /dev/')).toContain('echo answer $((6 * 7))');
    expect(await codeOf(attachConsole('serial'))).toBe('BUSY');
  } finally {
    console.destroy();
    await once(console, 'close');
  }
}

async function isShownAndFollowed(vm: Vm): Promise<void> {
  const follower = spawn(process.execPath, [program, 'logs', '-f', '-n', '0', 'serial']);
  const followed = text(follower.stdout);
  const onTerminal = `${process.execPath} ${program} console serial; stty -a | grep -o ' icanon'`;
  const terminal = spawn('script', ['-qec', onTerminal, '/dev/null']);
  let shown = '';
  terminal.stdout.on('data', (piece: Buffer) => {
    const before = shown;
    shown += piece.toString();
    const appeared = (words: string): boolean => !before.includes(words) && shown.includes(words);
    if (appeared('press Enter')) terminal.stdin.write('echo up $((1 + 1)); sleep 600\r');
    // Ctrl-C ends the guest's command, not us.
    if (appeared('up 2')) terminal.stdin.write('\u0003');
    if (appeared('^C')) terminal.stdin.write('echo shown $((1 + 1))\r');
    if (appeared('shown 2')) terminal.stdin.write('\u0010\u0011');
  });
  const [code] = (await once(terminal, 'close')) as [number];
  expect({ code, shown }).toEqual({
    code: 0,
    shown: expect.stringMatching(/detached from serial[^]* icanon/) as string,
  });
  await vm.stop();
  expect(await followed).toMatch(/shown 2[^]*Power down/);
  if (follower.exitCode === null) await once(follower, 'close');
  expect(follower.exitCode).toBe(0);
}

it('answers on the serial line, to one at a time; is shown on a terminal, which is given back, and followed by logs', async () => {
  await withGuest({ name: 'serial' }, async (vm) => {
    await answersOneAtATime(vm);
    await isShownAndFollowed(vm);
  });
});
