import { Command, CommanderError } from 'commander';
import { packageVersion } from './package-version.ts';
import { errorData, errorText } from './errors.ts';
import { exitCodeOf, exitCodes, isBrokenPipe } from './exit-codes.ts';
import { mayColour, printJson } from './output.ts';

/** A command: its line in the help, and the file that has the rest, loaded only when it is asked for. */
interface Entry {
  name: string;
  aliases?: readonly string[];
  summary: string;
  load(): Promise<Command>;
}

const entries: readonly Entry[] = [
  { name: 'run', summary: 'run a command in a new VM', load: async () => (await import('./commands/run.ts')).run() },
  {
    name: 'exec',
    summary: 'run a command in a running VM',
    load: async () => (await import('./commands/exec.ts')).exec(),
  },
  {
    name: 'ls',
    aliases: ['ps', 'list'],
    summary: 'list VMs',
    load: async () => (await import('./commands/ls.ts')).ls(),
  },
  { name: 'stop', summary: 'end VMs; their files stay', load: async () => (await import('./commands/stop.ts')).stop() },
  { name: 'rm', summary: 'remove VMs', load: async () => (await import('./commands/rm.ts')).rm() },
  {
    name: 'logs',
    summary: "print a VM's console or its VMM's log",
    load: async () => (await import('./commands/logs.ts')).logs(),
  },
  {
    name: 'inspect',
    summary: 'print all about a VM, as JSON',
    load: async () => (await import('./commands/inspect.ts')).inspect(),
  },
  {
    name: 'plan',
    summary: 'print what a VMM would be told',
    load: async () => (await import('./commands/plan.ts')).plan(),
  },
  {
    name: 'doctor',
    summary: 'say what this host can do',
    load: async () => (await import('./commands/doctor.ts')).doctor(),
  },
  {
    name: 'image',
    summary: 'build and list guest images',
    load: async () => (await import('./commands/image.ts')).image(),
  },
  {
    name: 'prune',
    summary: 'remove what dead processes left',
    load: async () => (await import('./commands/prune.ts')).prune(),
  },
  {
    name: 'version',
    summary: 'print the version',
    load: async () => (await import('./commands/version.ts')).version(),
  },
];

/**
 * The command line program. Sets `process.exitCode`, and never rejects.
 * @param argv the words after the program's name
 */
export async function main(argv: readonly string[]): Promise<void> {
  const ran: { command?: Command } = {};
  const reported = new WeakSet();
  const report = (error: unknown): void => {
    // A stream that fails tells whoever wrote to it, and its listeners.
    if (error instanceof Error && reported.has(error)) return;
    if (error instanceof Error) reported.add(error);
    show(error, ran.command?.opts()['json'] === true);
  };
  process.stdout.on('error', report);
  // There is no place left to say it.
  process.stderr.on('error', (error) => (process.exitCode = exitCodeOf(error)));
  try {
    const program = await programFor(argv);
    program.hook('preAction', (_, command) => void (ran.command = command));
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    report(error);
  }
}

/** The program with the whole of the command that is asked for, and only the names of the others. */
async function programFor(argv: readonly string[]): Promise<Command> {
  const program = new Command('polyvisor')
    .description('Run commands in lightweight virtual machines.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .enablePositionalOptions()
    .addHelpText(
      'after',
      "\nExamples:\n  $ polyvisor run -- uname -a\n  $ polyvisor doctor\n\nExit codes of run and exec: the guest's own, or\n" +
        '  2 wrong usage   124 time-out   125 polyvisor or the VMM failed   126 not executable   127 not found   128+n signal n',
    );
  const [first, second] = argv.filter((word) => !word.startsWith('-'));
  const asked = first === 'help' ? second : first;
  for (const { name, aliases = [], summary, load } of entries) {
    const isAsked = asked !== undefined && [name, ...aliases].includes(asked);
    const command = isAsked ? await load() : new Command(name);
    program.addCommand(command.summary(summary).aliases(aliases));
  }
  strict(program);
  return program;
}

/** Wrong usage throws, everywhere alike. */
function strict(command: Command): void {
  command.exitOverride().showHelpAfterError(`Try '${fullName(command)} --help'.`);
  command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'polyvisor: ')) });
  command.commands.forEach(strict);
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function show(error: unknown, json: boolean): void {
  if (error instanceof CommanderError) {
    // It has been printed already; asking for help is no error.
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return;
  }
  const errors: unknown[] = error instanceof AggregateError ? error.errors : [error];
  process.exitCode = exitCodeOf(errors[0]);
  for (const each of errors) {
    // Nobody reads any more: `polyvisor ls | head` is no failure to talk about.
    if (isBrokenPipe(each)) continue;
    process.stderr.write(errorText(each, { colour: mayColour(process.stderr) }));
    if (json) printJson(errorData(each));
  }
}
