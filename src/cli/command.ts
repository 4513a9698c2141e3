import { Command } from 'commander';

/** What every command of ours begins with: its name, what it is for, and at least one example of its use. */
export function newCommand(name: string, description: string, examples: readonly string[]): Command {
  const title = examples.length > 1 ? 'Examples' : 'Example';
  return new Command(name)
    .description(description)
    .addHelpText('after', ['', `${title}:`, ...examples.map((line) => `  $ polyvisor ${line}`)].join('\n'));
}

/** Does the same for each name, and goes on when one fails. Each that was done is printed. */
export async function forEachName(names: readonly string[], act: (name: string) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      await act(name);
      process.stdout.write(`${name}\n`);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures);
}
