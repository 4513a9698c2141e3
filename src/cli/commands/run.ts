import path from 'node:path';
import { type Command, Option } from 'commander';
import { VmError } from '../../errors.ts';
import { parsePortSpec } from '../../sandbox/port-spec.ts';
import type { Vm } from '../../sandbox/vm.ts';
import { places } from '../../state/paths.ts';
import { attach } from '../attach.ts';
import { newCommand } from '../command.ts';
import { addDeviceFlags, type DeviceFlags } from '../device-flags.ts';
import { addExecFlags, type ExecFlags, execOptions } from '../exec-flags.ts';
import { interruptible } from '../interrupts.ts';
import { takeOfKata } from '../kata-cache.ts';
import { kataTemplate } from '../kata-template.ts';
import { tellNotice } from '../notices.ts';
import { timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { addPortFlag, type PortFlags } from '../port-flags.ts';
import { openProgress } from '../progress.ts';
import { addVmFlags, imageOption, type VmFlags } from '../vm-flags.ts';
import { settle, tellSettings } from '../vm-settings.ts';

interface RunFlags extends VmFlags, DeviceFlags, ExecFlags, PortFlags {
  template?: string;
  cached?: boolean;
  endpoint?: string;
  detach?: boolean;
  rm?: boolean;
}

/** `polyvisor run` */
export function run(): Command {
  const about =
    'Runs a command in a new VM, and removes the VM when the command has ended. The first word is an image, whose own command runs when ' +
    'none follows; after `--` it is a command of the default guest, or of the image that --image names.';
  const command = newCommand('run', about, [
    'run -- uname -a',
    'run python3 python3 -c "print(1)"',
    'run --image python3 -- ls /',
    'run -it',
    "run -m 512M --cpus 2 -e NAME=world -- sh -c 'echo hello $NAME'",
    'run -i -- wc -l < /etc/passwd',
    'run -d --name web -p 8080:80 -- httpd -f',
    'factory init -m 512M && polyvisor run --template default -- uname -a',
    'run -v ./src:/src:ro --disk data.img --net user -- make -C /src test',
  ])
    .argument('[image]', 'name of an image (`image ls`) or path of a disk')
    .argument(
      '[command...]',
      'the command and its arguments; options after it are its own (default: that of the image, or on a terminal a shell)',
    )
    .passThroughOptions()
    .addOption(
      new Option('-d, --detach', 'leave the VM running; print its name').conflicts(['interactive', 'tty', 'rm']),
    )
    .option('--template <name>', 'clone the VM from this template; what is not said otherwise is as there')
    .addOption(
      new Option('--cached', 'take one that stands ready from the cache server (`factory init --cache`)').conflicts([
        ...['template', 'hypervisor', 'accel', 'memory', 'cpus', 'kernel', 'initrd', 'append', 'hypervisorPath'],
        ...['confinement', 'cpuLimit', 'config', 'annotation', 'scratch', 'keep'],
      ]),
    )
    .option('--endpoint <socket>', 'with --cached: where it listens (default: in the runtime folder)')
    .addOption(new Option('--rm', 'remove the VM at the end; so without -d and --keep').conflicts('keep'));
  addExecFlags(addPortFlag(addDeviceFlags(addVmFlags(command))), 'most time for boot and command')
    .addOption(
      new Option(
        '--start-timeout <time>',
        'most time until the guest answers (default: 60s, 180s without KVM)',
      ).argParser(timeMs),
    )
    .option('-q, --quiet', 'no progress on stderr')
    .action(async (_image: string | undefined, _words: string[], given: RunFlags, self: Command) => {
      const { argv, flags } = meant(self, given);
      const words = await commandFor(flags, argv);
      if (words.length > 0 || flags.detach === true) return runVm(words, flags);
      if (!process.stdin.isTTY) self.error('error: no command was given, and stdin is no terminal for a shell');
      return runVm(['/bin/sh'], { ...flags, interactive: true, tty: true });
    });
  return command;
}

/** Tells an image from a command: what follows `--`, and all when --image is given, is a command. */
function meant(self: Command, flags: RunFlags): { argv: string[]; flags: RunFlags } {
  const { args } = self;
  // The words after the options are handed over as they are, so that what stands in front of them can be looked at.
  const raw = rawWords(self);
  const isCommand = flags.image !== undefined || raw[raw.length - args.length - 1] === '--';
  const [image, ...rest] = args;
  if (isCommand || image === undefined) return { argv: args, flags };
  return { argv: rest[0] === '--' ? rest.slice(1) : rest, flags: { ...flags, image } };
}

function rawWords(command: Command): string[] {
  const root = command.parent === null ? command : command.parent;
  return (root as Command & { rawArgs: string[] }).rawArgs;
}

/**
 * What is run: the image's entrypoint in front, its command when none is given. A VM that is left running needs none.
 * @throws {VmError} IMAGE_NOT_FOUND, INVALID_NAME; INVALID_ARGUMENT for an image that has no command of its own
 */
async function commandFor({ image, detach }: RunFlags, argv: string[]): Promise<string[]> {
  if (image === undefined) return argv;
  const { storedImage } = await import('../../sandbox/root-image.ts');
  const { commandOf } = await import('../../images/roots/root-image.ts');
  const config = (await storedImage(places().roots, imageOption(image)))?.config;
  const words = config === undefined ? argv : commandOf(config, argv);
  if (words.length > 0 || config === undefined || detach === true) return words;
  throw new VmError('INVALID_ARGUMENT', `the image ${image} has no command of its own: say one`);
}

async function runVm(argv: readonly string[], flags: RunFlags): Promise<void> {
  needTerminal(flags);
  // Wrong variables are told before a VM is booted for them.
  execOptions(flags);
  const deadline = flags.timeout === undefined ? undefined : performance.now() + flags.timeout;
  const make = flags.cached === true ? await taking(flags) : await making(flags);
  await interruptible(async (interrupts) => {
    const vm = await make(interrupts.signal);
    const timeoutMs = deadline === undefined ? undefined : Math.max(1, Math.round(deadline - performance.now()));
    if (flags.detach === true) return leaveRunning(vm, argv, flags);
    try {
      for (const port of flags.publish ?? []) await vm.forwardPort(parsePortSpec(port));
      await attach(vm, { argv, flags, interrupts, timeoutMs });
    } finally {
      await (flags.keep === true ? keep(vm, flags) : end(vm));
    }
  });
}

/** Takes back the folders that the guest had copies of. The VM goes however that goes: nobody else could use it. */
async function end(vm: Vm): Promise<void> {
  try {
    const { noticesOf } = await import('../../sandbox/bring-back.ts');
    noticesOf(await vm.bringBack()).forEach(tellNotice(vm.name));
  } finally {
    await vm.remove({ force: true });
  }
}

/** Ends the VM and leaves it, with what it wrote. */
async function keep(vm: Vm, { quiet }: RunFlags): Promise<void> {
  await vm.stop({ onNotice: tellNotice(vm.name) });
  await vm.detach();
  await vm.close();
  if (quiet !== true) process.stderr.write(`polyvisor: ${vm.name} is kept: start it again, or remove it by rm\n`);
}

/** Makes a VM when it is called. */
type MakeVm = (signal: AbortSignal) => Promise<Vm>;

async function taking({ endpoint, name, timeout }: RunFlags): Promise<MakeVm> {
  const { Vm: library } = await import('../../sandbox/vm.ts');
  const { cacheEndpoint, places } = await import('../../state/paths.ts');
  const socket = endpoint === undefined ? cacheEndpoint(places()) : path.resolve(endpoint);
  const factory = await library.factory({ endpoint: socket });
  return (signal) => factory.getVm({ name, signal, timeoutMs: timeout });
}

async function making(flags: RunFlags): Promise<MakeVm> {
  if (flags.endpoint !== undefined) throw new VmError('INVALID_ARGUMENT', '--endpoint goes with --cached');
  const settled = await settle(flags);
  if (flags.quiet !== true) tellSettings(settled.settings, true);
  const { Vm: library } = await import('../../sandbox/vm.ts');
  const tell = (why: string): void => {
    if (flags.quiet !== true) process.stderr.write(`polyvisor: ${why}\n`);
  };
  return (signal) => {
    const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
    const how = { signal, timeoutMs: flags.timeout, onEvent: progress.onEvent.bind(progress) };
    const create = async (): Promise<Vm> => {
      const taken = flags.template === undefined && (await takeOfKata(settled, { name: flags.name, ...how }, tell));
      if (taken) return taken;
      const template = flags.template ?? (await kataTemplate(settled, how));
      return library.create({ ...settled.options, ...how, template });
    };
    return create()
      .catch(settled.explain)
      .finally(() => progress.end());
  };
}

/** Starts the command, if there is one, and lets go. Until then the VM is ours and ends with us: nobody knows its name yet. */
async function leaveRunning(vm: Vm, argv: readonly string[], flags: RunFlags): Promise<void> {
  try {
    if (flags.publish !== undefined) await vm.publishPorts(flags.publish);
    if (argv.length > 0) await vm.exec(argv, { ...execOptions(flags), detach: true }).pid;
    await vm.detach();
  } catch (error) {
    await vm.remove();
    throw error;
  }
  await vm.close();
  if (flags.json === true) printJson({ name: vm.name, id: vm.id, hypervisor: vm.hypervisor });
  else print(vm.name);
}

/** @throws {VmError} INVALID_ARGUMENT when a terminal was asked for and there is none to read from */
export function needTerminal({ interactive, tty }: ExecFlags): void {
  if (interactive === true && tty === true && !process.stdin.isTTY) {
    throw new VmError('INVALID_ARGUMENT', 'stdin is no terminal, as -i and -t together need', {
      advice: 'Leave out -t to pipe data in.',
    });
  }
}
