import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attachConsole } from '../../../src/sandbox/console.ts';
import { vmLog } from '../../../src/sandbox/logs.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { codeOf } from '../../fakes/failure.ts';

let vm: Vm;
beforeEach(async () => {
  vm = await Vm.create({ hypervisor: 'mock', name: 'talker' });
});
afterEach(() => vm.remove());

/** Reads until what has come holds the words. */
async function until(console: Duplex, words: string): Promise<string> {
  let text = '';
  for await (const piece of console.iterator({ destroyOnReturn: false })) {
    text += String(piece);
    if (text.includes(words)) return text;
  }
  throw new Error(`the console ended after ${JSON.stringify(text)}`);
}

async function detach(console: Duplex): Promise<void> {
  console.destroy();
  if (!console.closed) await once(console, 'close');
}

describe('the console', () => {
  it('answers what is typed, and its log has both', async () => {
    const console = await vm.console();
    console.write('echo answer $((6 * 7))\n');
    expect(await until(console, 'answer 42')).toContain('echo answer $((6 * 7))');
    await detach(console);
    let log = '';
    for await (const piece of vmLog('talker')) log += piece.toString();
    expect(log).toContain('answer 42');
  });

  it('serves one at a time, and goes on where the one before left it', async () => {
    const first = await vm.console();
    expect(await codeOf(attachConsole('talker'))).toBe('BUSY');
    first.write('name=kept; echo set $((1 + 1))\n');
    await until(first, 'set 2');
    await detach(first);
    const second = await attachConsole('talker');
    second.write('echo it is $name\n');
    await until(second, 'it is kept');
    await detach(second);
  });

  it('starts another shell after one has ended', async () => {
    const console = await vm.console();
    console.write('echo one $((0 + 1)); exit\n');
    await until(console, 'one 1');
    // The terminal is flushed when the shell has ended; a line that is lost with that is typed again.
    const again = setInterval(() => console.write('echo two $((1 + 1)) by $$\n'), 100);
    await until(console, 'two 2').finally(() => clearInterval(again));
    await detach(console);
  });

  it('needs a VM that runs', async () => {
    expect(await codeOf(attachConsole('nobody'))).toBe('NOT_FOUND');
    const other = await Vm.create({ hypervisor: 'mock', name: 'silent' });
    try {
      const console = await other.console();
      await other.stop();
      if (!console.closed) await once(console.resume(), 'close');
      expect(await codeOf(attachConsole('silent'))).toBe('NOT_RUNNING');
      expect(await codeOf(other.console())).toBe('INVALID_STATE');
    } finally {
      await other.remove();
    }
  });
});
