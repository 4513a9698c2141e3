import { type Command, CommanderError } from 'commander';
import { errorData, errorText } from './errors.ts';
import { exitCodeOf, exitCodes, isBrokenPipe } from './exit-codes.ts';
import { mayColour, printJson } from './output.ts';
import { fullName, loadProgram } from './program.ts';

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
    const program = await loadProgram(askedFor(argv));
    strict(program);
    program.hook('preAction', (_, command) => void (ran.command = command));
    await program.parseAsync(wordsToParse(argv, program), { from: 'user' });
  } catch (error) {
    report(error);
  }
}

/** The first word that is no option is the command; `help` shows that of another one. */
function askedFor(argv: readonly string[]): { name: string | undefined } {
  const [first, second] = argv.filter((word) => !word.startsWith('-'));
  return { name: first === 'help' ? second : first };
}

/** For the help of a command that there is not, commander prints the program's: as a command it is an error, with a suggestion. */
function wordsToParse(argv: readonly string[], program: Command): readonly string[] {
  const [first, second] = argv;
  const isKnown = program.commands.some((it) => second === it.name() || it.aliases().includes(second ?? ''));
  return first === 'help' && second !== undefined && !second.startsWith('-') && !isKnown ? argv.slice(1) : argv;
}

/** Wrong usage throws, everywhere alike. */
function strict(command: Command): void {
  command.exitOverride().showHelpAfterError(`Try '${fullName(command)} --help'.`);
  command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'polyvisor: ')) });
  command.commands.forEach(strict);
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
  }
  const told = errors.filter((each) => !isBrokenPipe(each)).map(errorData);
  if (json && told.length > 0) printJson(told.length === 1 ? told[0] : { errors: told.map(({ error }) => error) });
}
