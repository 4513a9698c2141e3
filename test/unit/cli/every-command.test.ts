import type { Command } from 'commander';
import { beforeAll, expect, it } from 'vitest';
import { fullName, loadProgram } from '../../../src/cli/program.ts';

/** Commands that print what a guest or a shell writes, and no data of ours. */
const withoutData = ['completion', 'console', 'logs', 'shell'].map((name) => `polyvisor ${name}`);

/** Letters that mean different things in different commands, as docker has them. */
const manyMeanings: Readonly<Record<string, readonly string[]>> = {
  '-a': ['--all', '--archive', '--attach'],
  '-f': ['--follow', '--force'],
  '-n': ['--count', '--interval', '--tail'],
  '-t': ['--time', '--tty'],
};

let program: Command;
beforeAll(async () => {
  program = await loadProgram('all');
});

/** Every command that does something. */
function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => void (text += part), getOutHelpWidth: () => 100 });
  command.outputHelp();
  return text;
}

/** Names of the commands for which something does not hold. */
function without(commands: readonly Command[], holds: (command: Command) => boolean): string[] {
  return commands.filter((command) => !holds(command)).map(fullName);
}

it('has a description, a summary, and an example that calls it', () => {
  const commands = everyCommand(program).slice(1);
  expect(commands.length).toBeGreaterThan(15);
  expect(without(commands, (it) => /^[A-Z].*\.$/s.test(it.description()))).toEqual([]);
  expect(without(commands, (it) => /^[a-z].*[^.]$/.test(it.summary()))).toEqual([]);
  expect(
    without(commands, (it) => / {2}\$ (.*\| )?polyvisor /.test(helpOf(it)) && helpOf(it).includes(` ${fullName(it)}`)),
  ).toEqual([]);
});

it('has --json where it prints data', () => {
  const commands = leaves(program).filter((it) => !withoutData.includes(fullName(it)));
  expect(without(commands, (it) => it.options.some(({ long }) => long === '--json'))).toEqual([]);
  expect(withoutData.filter((name) => !leaves(program).some((it) => fullName(it) === name))).toEqual([]);
});

it('describes each option and argument, and means the same by the same letter', () => {
  const letters = new Map<string, Set<string>>();
  for (const command of everyCommand(program)) {
    for (const { short, long, description } of command.options) {
      expect(description, `${fullName(command)} ${long}`).not.toBe('');
      if (short !== undefined && long !== undefined && long !== null)
        letters.set(short, (letters.get(short) ?? new Set()).add(long));
    }
    for (const argument of command.registeredArguments)
      expect(argument.description, `${fullName(command)} ${argument.name()}`).not.toBe('');
  }
  const unwanted = [...letters].flatMap(([letter, longs]) =>
    [...longs].filter((long) => longs.size > 1 && !(manyMeanings[letter] ?? []).includes(long)),
  );
  expect(unwanted).toEqual([]);
});

it('fits a terminal of 80 columns', () => {
  for (const command of everyCommand(program)) {
    let text = '';
    command.configureOutput({ writeOut: (part) => void (text += part), getOutHelpWidth: () => 80 });
    command.outputHelp();
    // Examples are one line each, to be copied.
    const own = text.slice(0, text.search(/^Examples?:/m));
    const wide = own.split('\n').filter((line) => line.length > 80);
    expect(wide, fullName(command)).toEqual([]);
  }
});
