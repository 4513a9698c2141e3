import path from 'node:path';
import { type Command, Option } from 'commander';
import { type ConfinementLevel, confinementLevels } from '../confinement/level.ts';
import type { GuestArch } from '../config/host.ts';
import { deserializeParams, kernelWords } from '../config/kernel-params.ts';
import type { VmOptions } from '../sandbox/vm-options.ts';
import { parseScratch, type ScratchSpec } from '../sandbox/scratch.ts';
import { type DeviceFlags, devicesOf, orUsageError } from './device-flags.ts';
import { hostImageName } from '../images/image.ts';
import { collect, cpuShare, memoryMiB, wholeNumber } from './option-values.ts';

/** What a command line says about a VM to be made. */
export interface VmFlags {
  name?: string;
  hypervisor?: string;
  accel?: 'auto' | 'kvm' | 'tcg';
  arch?: GuestArch;
  memory?: number;
  cpus?: number;
  image?: string;
  kernel?: string;
  initrd?: string;
  append?: string;
  hypervisorPath?: string;
  confinement?: ConfinementLevel;
  cpuLimit?: number;
  scratch?: ScratchSpec;
  keep?: boolean;
  startTimeout?: number;
  config?: string;
  annotation?: string[];
  strict?: boolean;
}

/** Gives a command the options that describe a VM. */
export function addVmFlags(command: Command): Command {
  return command
    .option('--name <name>', 'name of the VM (default: one is made up)')
    .option('--hypervisor <type>', 'qemu, firecracker, clh, acrn or mock (default: qemu)')
    .addOption(new Option('--accel <accel>', 'accelerator (default: auto)').choices(['auto', 'kvm', 'tcg']))
    .addOption(
      new Option('--arch <arch>', "architecture of the guest; one that is not this host's is emulated").choices([
        'amd64',
        'arm64',
      ]),
    )
    .addOption(new Option('-m, --memory <size>', 'memory, such as 512M or 2G (default: 2G)').argParser(memoryMiB))
    .addOption(new Option('--cpus <number>', 'vCPUs (default: 1)').argParser(wholeNumber))
    .option('--image <image>', 'root file system: the name of an image, or the path of a disk')
    .option(
      '--kernel <file>',
      "kernel to boot instead of the default guest's; `host`: that of this host, with its modules",
    )
    .addOption(
      new Option(
        '--scratch <size>',
        'room for what the VM writes above its image: 2G on disk, memory:512M in memory (default: in memory, half of it)',
      ).argParser((text: string) => orUsageError(() => parseScratch(text))),
    )
    .option('--keep', 'keep what it writes when it ends, for `start` and `commit`, until it is removed')
    .option('--initrd <file>', 'initrd for that kernel')
    .option('--append <words>', 'kernel parameters, after ours')
    .option('--config <file>', "polyvisor.toml or Kata's configuration.toml, instead of those that are found")
    .addOption(new Option('--annotation <name=value>', "an annotation of Kata's; repeatable").argParser(collect))
    .option('--strict', "what is not taken of Kata's file or annotations is an error")
    .option('--hypervisor-path <file>', "the VMM's program (default: looked up in PATH)")
    .addOption(
      new Option('--confinement <level>', 'how the VMM is confined (default: strict as root, best otherwise)').choices(
        confinementLevels,
      ),
    )
    .addOption(
      new Option('--cpu-limit <cpus>', 'most processor time that the VMM may use, such as 0.5').argParser(cpuShare),
    );
}

/** The same as options of the library. Paths become absolute, from the current folder. */
export function vmOptions(flags: VmFlags & DeviceFlags): VmOptions {
  const { name, hypervisor, accel, arch, memory, cpus, image, kernel, initrd, append, hypervisorPath } = flags;
  const { confinement, cpuLimit, startTimeout, scratch, keep } = flags;
  return {
    name,
    hypervisor,
    accel,
    arch,
    memoryMiB: memory,
    vcpus: cpus,
    image: imageOption(image),
    // A file of that name is written ./host.
    kernel: kernel === hostImageName ? kernel : absolute(kernel),
    initrd: absolute(initrd),
    hypervisorPath: absolute(hypervisorPath),
    confinement,
    cpuLimit,
    startTimeoutMs: startTimeout,
    devices: devicesOf(flags),
    scratch: keep === true ? { ...scratch, keep } : scratch,
    kernelParams: append === undefined ? undefined : deserializeParams(kernelWords(append)),
  };
}

/** A path is told from an image's name as shells tell them: it begins with a slash or a dot. */
export function imageOption(image: string | undefined): string | undefined {
  return image !== undefined && /^[./]/.test(image) ? path.resolve(image) : image;
}

function absolute(file: string | undefined): string | undefined {
  // An empty one stays wrong instead of becoming the current folder.
  return file === undefined || file === '' ? file : path.resolve(file);
}
