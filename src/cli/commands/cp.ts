import { type Command, Option } from 'commander';
import { VmError } from '../../errors.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { memoryMiB, timeMs, wholeNumber } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface CpFlags {
  archive?: boolean;
  followLink?: boolean;
  maxSize?: number;
  maxEntries?: number;
  timeout?: number;
  json?: boolean;
  quiet?: boolean;
}

/** What `cp` is asked for: which VM, which way, from where and to where. */
export interface CopyPlan {
  name: string;
  into: boolean;
  source: string;
  target: string;
}

/** `polyvisor cp` */
export function cp(): Command {
  return newCommand('cp', 'Copies a file or a folder between this host and a VM that runs.', [
    'cp ./src web:/root/app',
    'cp web:/var/log/. logs',
    'tar -c src | polyvisor cp - web:/root',
    'cp web:/etc - | tar -t',
  ])
    .argument('<source>', 'path, NAME:PATH of a VM, or - for a tar stream on stdin')
    .argument('<target>', 'path, NAME:PATH of a VM, or - for a tar stream on stdout')
    .addHelpText(
      'after',
      '\nA source goes into a folder that exists, else it takes the name of the target. SOURCE/. is what is in a folder.\n' +
        'Modes, links and times are kept. Write ./NAME:FILE for a file of this host that has a colon in its name.',
    )
    .option('-a, --archive', 'keep owners, as numbers; and, out of a VM, set-user-id and set-group-id bits')
    .option('-L, --follow-link', 'copy what the source points to, if it is a link')
    .addOption(
      new Option('--max-size <size>', 'most to take out of a VM, such as 10G (default: 64G)').argParser(memoryMiB),
    )
    .addOption(
      new Option('--max-entries <n>', 'most files to take out of a VM (default: 1000000)').argParser(wholeNumber),
    )
    .addOption(
      new Option('--timeout <time>', 'most time for the copy, such as 30s or 5m; then exit with 124').argParser(timeMs),
    )
    .option('-q, --quiet', 'print nothing')
    .option('--json', 'print what was copied as JSON')
    .action(copyFiles);
}

async function copyFiles(from: string, to: string, flags: CpFlags): Promise<void> {
  const plan = copyPlan(from, to);
  const { name, into, source, target } = plan;
  if (target === '-' && flags.json === true) throw wrongUse('--json and the archive both go to stdout.');
  if (source === '-' && into && process.stdin.isTTY) throw wrongUse('stdin is a terminal: send it a tar archive.');
  const { Vm } = await import('../../sandbox/vm.ts');
  await interruptible(async ({ signal }) => {
    const began = performance.now();
    const { archive, followLink, maxSize, maxEntries: entries, timeout: timeoutMs } = flags;
    const bytes = maxSize === undefined ? undefined : maxSize * 2 ** 20;
    const options = { archive, followLink, signal, timeoutMs };
    const vm = await Vm.connect(name, { signal });
    try {
      const copied = into
        ? await vm.copyIn(source === '-' ? process.stdin : source, target, options)
        : await vm.copyOut(source, target === '-' ? process.stdout : target, {
            ...options,
            limits: { bytes, entries },
          });
      const durationMs = Math.round(performance.now() - began);
      if (flags.json === true) printJson({ ...plan, ...copied, durationMs });
      else if (flags.quiet !== true && target !== '-') print(`${copied.entries} entries, ${copied.bytes} bytes`);
    } finally {
      await vm.close();
    }
  });
}

/**
 * Which of two operands is in a VM: exactly one must be.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function copyPlan(source: string, target: string): CopyPlan {
  const from = inVm(source);
  const to = inVm(target);
  if (from !== undefined && to !== undefined)
    throw wrongUse('Both are in a VM: copy to this host first, or pipe one `polyvisor cp NAME:PATH -` into another.');
  if (from !== undefined) return { name: from.name, into: false, source: from.path, target };
  if (to !== undefined) return { name: to.name, into: true, source, target: to.path };
  throw wrongUse('Neither is in a VM: write NAME:PATH for the one that is.');
}

function wrongUse(problem: string): VmError {
  return new VmError('INVALID_ARGUMENT', problem, { operation: 'copy', advice: 'See `polyvisor cp --help`.' });
}

/** `NAME:PATH`; what has a slash or a dot at its beginning is a path of this host whatever follows. */
function inVm(operand: string): { name: string; path: string } | undefined {
  const [, name, path] = /^([A-Za-z0-9][A-Za-z0-9_-]*):(.*)$/s.exec(operand) ?? [];
  if (name === undefined || path === undefined) return undefined;
  if (path === '') throw wrongUse(`${operand} names no path: write ${name}:/ for the root folder.`);
  return { name, path };
}
