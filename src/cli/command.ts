import { Command } from 'commander';
import { print, printJson } from './output.ts';

/** What every command of ours begins with: its name, what it is for, and at least one example of its use. */
export function newCommand(name: string, description: string, examples: readonly string[]): Command {
  const title = examples.length > 1 ? 'Examples' : 'Example';
  return new Command(name)
    .description(description)
    .configureHelp({ subcommandTerm: namesOf })
    .addHelpText('after', ['', `${title}:`, ...examples.map((line) => `  $ polyvisor ${line}`)].join('\n'));
}

/** A command in a list of commands. */
export function namesOf(command: Command): string {
  return [command.name(), ...command.aliases()].join('|');
}

/** Does the same for each name, and goes on when one fails. Those for which it was done are printed: at once, or as one JSON array. */
export async function forEachName(
  names: readonly string[],
  act: (name: string) => Promise<void>,
  flags: { json?: boolean | undefined } = {},
): Promise<void> {
  const failures: unknown[] = [];
  const done: string[] = [];
  for (const name of names) {
    try {
      await act(name);
      done.push(name);
      if (flags.json !== true) print(name);
    } catch (error) {
      failures.push(error);
    }
  }
  // With --json there is one value on stdout: when anything failed, that is what failed, with its name.
  if (flags.json === true && failures.length === 0) printJson(done);
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures);
}
