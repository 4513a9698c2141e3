import { Command } from 'commander';
import { packageVersion } from '../config/package-version.ts';
import { commandList } from './command-list.ts';
import { namesOf } from './command.ts';

/**
 * The program, with the whole of the command that is asked for and only the names of the others: loading them all would take longer
 * than most commands run.
 * @param asked a command's name or alias; `all` for every one
 */
export async function loadProgram(asked: { name: string | undefined } | 'all'): Promise<Command> {
  const program = new Command('polyvisor')
    .description('Run commands in lightweight virtual machines.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .commandsGroup('This host:')
    .helpCommand('help [command]', 'print the help of a command')
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: namesOf })
    .addHelpText(
      'after',
      "\nExamples:\n  $ polyvisor run -- uname -a\n  $ polyvisor doctor\n\nExit codes of run and exec: the guest's own, or\n" +
        '  2 wrong usage   124 time-out   125 polyvisor or the VMM failed   126 not executable   127 not found   128+n signal n',
    );
  const wanted = commandList.filter(
    ({ name, aliases = [] }) => asked === 'all' || [name, ...aliases].some((it) => it === asked.name),
  );
  const all = wanted.some(({ needsAll }) => needsAll === true);
  for (const entry of commandList) {
    const { name, aliases = [], group, summary, load } = entry;
    const command = all || wanted.includes(entry) ? await load() : new Command(name);
    program.addCommand(command.summary(summary).aliases(aliases).helpGroup(`${group}:`));
  }
  return program;
}

/** A command's words, such as `polyvisor image ls`. */
export function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}
