import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { DetachKeys, parseDetachKeys } from '../detach-keys.ts';
import { type Interrupts, interruptible } from '../interrupts.ts';
import { openTerminal } from '../terminal.ts';

interface ConsoleFlags {
  detachKeys?: { text: string; bytes: Buffer };
  quiet?: boolean;
}

const defaultKeys = { text: 'ctrl-p,ctrl-q', bytes: parseDetachKeys('ctrl-p,ctrl-q') };

/** `polyvisor console` */
export function consoleCommand(): Command {
  return newCommand('console', "Attaches to a VM's console: its serial line, with whatever the guest runs there.", [
    'console web',
    'console --detach-keys ctrl-] web',
  ])
    .argument('<name>', 'name of the VM')
    .addOption(
      new Option('--detach-keys <keys>', `keys that detach (default: ${defaultKeys.text})`).argParser((text) => ({
        text,
        bytes: parseDetachKeys(text),
      })),
    )
    .option('-q, --quiet', 'no hints on stderr')
    .action(async (name: string, flags: ConsoleFlags) => {
      const { attachConsole } = await import('../../sandbox/console.ts');
      await interruptible(async (interrupts) => {
        const stream = await attachConsole(name, { signal: interrupts.signal });
        try {
          await converse(name, stream, flags, interrupts);
        } finally {
          stream.destroy();
          if (!stream.closed) await once(stream, 'close');
        }
      });
    });
}

async function converse(name: string, stream: Duplex, flags: ConsoleFlags, interrupts: Interrupts): Promise<void> {
  const { stdin, stdout } = process;
  const { text, bytes } = flags.detachKeys ?? defaultKeys;
  const keys = new DetachKeys(bytes);
  const left = new AbortController();
  const onInput = (typed: Buffer): void => {
    // What is piped in is data: no keys are looked for in it.
    const { send, detach } = stdin.isTTY ? keys.take(typed) : { send: typed, detach: false };
    if (!stream.write(send)) {
      stdin.pause();
      stream.once('drain', () => stdin.resume());
    }
    if (detach) left.abort();
  };
  const say = (words: string): void => {
    // The guest leaves the cursor anywhere, and a raw terminal adds no carriage return.
    if (stdin.isTTY && flags.quiet !== true) process.stderr.write(`\r\npolyvisor: ${words}\r\n`);
  };
  const terminal = openTerminal(stdin, stdout);
  stdin.on('data', onInput);
  try {
    say(`attached to the console of ${name}; ${text} detaches; press Enter if nothing is shown`);
    await pipeline(stream, stdout, { end: false, signal: AbortSignal.any([left.signal, interrupts.signal]) });
  } catch (error) {
    const isEnd = left.signal.aborted || (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    if (!isEnd) throw interrupts.signal.aborted ? interrupts.signal.reason : error;
  } finally {
    stdin.off('data', onInput).pause();
    terminal.close();
  }
  say(left.signal.aborted ? `detached from ${name}` : `the console of ${name} has ended`);
}
