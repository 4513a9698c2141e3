import type { Argument, Command, Option } from 'commander';

/** What a shell offers for a word. `any`: something only the user knows. */
export type WordKind = 'vm' | 'image' | 'file' | 'any' | readonly string[];

/** An option as shells complete it. */
export interface CompletedOption {
  /** such as `-m` and `--memory` */
  flags: readonly string[];
  description: string;
  /** of its value; undefined when it takes none */
  value: WordKind | undefined;
}

/** A command as shells complete it. */
export interface CompletedCommand {
  /** its words without the program's, such as `image ls`; empty for the program itself */
  path: string;
  /** its last word and the aliases of that */
  names: readonly string[];
  summary: string;
  commands: readonly CompletedCommand[];
  options: readonly CompletedOption[];
  /** what its arguments are, in order */
  words: readonly WordKind[];
  /** the last argument may be repeated */
  variadic: boolean;
}

/** What shells need to know of a program, taken from its commands. */
export function completionTree(command: Command, path: string = ''): CompletedCommand {
  const help = command.createHelp();
  const commands = command.commands.map((it) => completionTree(it, `${path} ${it.name()}`.trim()));
  return {
    path,
    names: [command.name(), ...command.aliases()],
    summary: command.summary() || command.description(),
    commands: path === '' ? [...commands, helpCommand(commands)] : commands,
    options: help.visibleOptions(command).map(optionOf),
    words: command.registeredArguments.map(kindOfArgument),
    variadic: command.registeredArguments.at(-1)?.variadic === true,
  };
}

/** Every command, the program itself first. */
export function allCommands(command: CompletedCommand): CompletedCommand[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

/** Commander makes this one itself. */
function helpCommand(others: readonly CompletedCommand[]): CompletedCommand {
  const names = others.map(({ names: [name = ''] }) => name);
  const summary = 'print the help of a command';
  return { path: 'help', names: ['help'], summary, commands: [], options: [], words: [names], variadic: false };
}

function optionOf(option: Option): CompletedOption {
  const { short, long, description, required, optional } = option;
  const flags = [short, long].filter((flag) => flag !== undefined);
  return { flags, description, value: required || optional ? kindOfValue(option) : undefined };
}

function kindOfValue({ argChoices, flags }: Option): WordKind {
  if (argChoices !== undefined) return argChoices;
  return /<(file|folder)>/.test(flags) ? 'file' : 'any';
}

/** Arguments are told apart by their names, which are the same in every command. */
function kindOfArgument(argument: Argument): WordKind {
  if (argument.argChoices !== undefined) return argument.argChoices;
  const kinds: Readonly<Record<string, WordKind>> = { name: 'vm', image: 'image', 'new-name': 'any' };
  return kinds[argument.name()] ?? 'file';
}

/** The names under which a command's own commands can be called. */
export function commandNames({ commands }: CompletedCommand): string[] {
  return commands.flatMap(({ names }) => names);
}
