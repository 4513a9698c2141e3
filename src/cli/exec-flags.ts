import { type Command, Option } from 'commander';
import type { Vm } from '../sandbox/vm.ts';
import { guestEnvironment } from './environment.ts';
import { collect, timeMs } from './option-values.ts';

/** A command that runs in a guest, as the library gives it. */
export type GuestCommand = ReturnType<Vm['exec']>;
/** How a command is run, as the library takes it. */
export type GuestCommandOptions = NonNullable<Parameters<Vm['exec']>[1]>;

/** What a command line says about a command in a guest. */
export interface ExecFlags {
  interactive?: boolean;
  tty?: boolean;
  env?: string[];
  envFile?: string[];
  workdir?: string;
  user?: string;
  timeout?: number;
  json?: boolean;
  quiet?: boolean;
}

/**
 * Gives a command the options that describe a command in a guest.
 * @param timeout what `--timeout` ends
 */
export function addExecFlags(command: Command, timeout: string): Command {
  return command
    .option('-i, --interactive', 'send stdin to the guest')
    .addOption(new Option('-t, --tty', 'run the command on a terminal').conflicts('json'))
    .addOption(
      new Option(
        '-e, --env <name=value>',
        'set a variable; NAME alone takes the value it has here; repeatable',
      ).argParser(collect),
    )
    .addOption(new Option('--env-file <file>', 'read variables from a file; repeatable').argParser(collect))
    .option('-w, --workdir <folder>', 'working folder in the guest')
    .option('-u, --user <user>', 'name or uid, with :group or :gid (default: root)')
    .addOption(new Option('--timeout <time>', `${timeout}, such as 30s or 5m; then exit with 124`).argParser(timeMs))
    .option('--json', 'collect the output; print one JSON object at the end');
}

/** The same as options of the library; stdin, terminal and time-out are not among them. */
export function execOptions({ env = [], envFile = [], workdir, user }: ExecFlags): GuestCommandOptions {
  return { env: guestEnvironment(env, envFile), cwd: workdir, user };
}
