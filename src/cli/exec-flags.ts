import { type Command, Option } from 'commander';
import type { Vm } from '../sandbox/vm.ts';
import { guestEnvironment } from './environment.ts';
import { byteCount, collect, cpuShare, memoryMiB, timeMs, wholeNumber } from './option-values.ts';

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
  maxOutput?: number;
  maxPids?: number;
  maxMemory?: number;
  maxCpus?: number;
  json?: boolean;
  quiet?: boolean;
}

/**
 * Gives a command the options that describe a command in a guest.
 * @param timeout what `--timeout` ends
 */
export function addExecFlags(command: Command, timeout: string): Command {
  command
    .option('-i, --interactive', 'send stdin to the guest')
    .addOption(new Option('-t, --tty', 'run the command on a terminal').conflicts('json'));
  return addProcessFlags(command)
    .addOption(new Option('--timeout <time>', `${timeout}, such as 30s or 5m; then exit with 124`).argParser(timeMs))
    .addOption(
      new Option('--max-output <size>', 'most output that is collected with --json (default: 16M)').argParser(
        byteCount,
      ),
    )
    .option('--json', 'collect the output; print one JSON object at the end');
}

/** Gives a command the options that describe a process in a guest. */
export function addProcessFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        '-e, --env <name=value>',
        'set a variable; NAME alone takes the value it has here; repeatable',
      ).argParser(collect),
    )
    .addOption(new Option('--env-file <file>', 'read variables from a file; repeatable').argParser(collect))
    .option('-w, --workdir <folder>', 'working folder in the guest')
    .option('-u, --user <user>', 'name or uid, with :group or :gid (default: root)')
    .addOption(new Option('--max-pids <number>', 'most processes and threads of the command').argParser(wholeNumber))
    .addOption(new Option('--max-memory <size>', 'most memory of the command, such as 256M').argParser(memoryMiB))
    .addOption(
      new Option('--max-cpus <number>', "most CPUs' worth of time of the command, such as 0.5").argParser(cpuShare),
    );
}

/** The same as options of the library; stdin, terminal and time-out are not among them. */
export function execOptions(flags: ExecFlags): GuestCommandOptions {
  const { env = [], envFile = [], workdir, user, maxOutput, maxPids, maxMemory, maxCpus } = flags;
  return {
    env: guestEnvironment(env, envFile),
    cwd: workdir,
    user,
    maxOutputBytes: maxOutput,
    maxPids,
    maxMemoryMiB: maxMemory,
    maxCpus,
  };
}
