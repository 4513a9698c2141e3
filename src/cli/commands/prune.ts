import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import type { Unused } from '../../sandbox/unused.ts';
import { VmError } from '../../errors.ts';
import { newCommand } from '../command.ts';
import { confirm } from '../confirm.ts';
import { print, printJson } from '../output.ts';
import { imagesText, sizeOf } from '../image-list.ts';

interface PruneFlags {
  all?: boolean;
  dryRun?: boolean;
  force?: boolean;
  id?: string;
  json?: boolean;
}

/** `polyvisor prune` */
export function prune(): Command {
  return newCommand(
    'prune',
    'Removes what dead processes left: VMs that were never finished, and those whose owner is gone. With -a also VMs that have ' +
      'ended, and guest images that are out of date. What runs is never touched.',
    ['prune', 'prune -a --dry-run', 'prune -af'],
  )
    .argument('[name]', 'only what a dead process left of this VM')
    .option('-a, --all', 'VMs that have ended and images that are out of date, too; asks first')
    .option('--dry-run', 'print what would be removed')
    .option('-f, --force', 'do not ask')
    .addOption(new Option('--id <id>', 'only the VM of this id').hideHelp())
    .option('--json', 'print a JSON object with the names of VMs and the folders of images')
    .action(pruneUnused);
}

async function pruneUnused(name: string | undefined, flags: PruneFlags): Promise<void> {
  const { all = false, dryRun = false, force = false, json = false, id } = flags;
  const { findUnused, removeEach } = await import('../../sandbox/unused.ts');
  const { throwFailures } = await import('../../sandbox/prune.ts');
  const { TemplateStore } = await import('../../factory/template-store.ts');
  const { VmStore } = await import('../../state/store.ts');
  const one = name !== undefined || id !== undefined;
  if (one && all) throw new VmError('INVALID_ARGUMENT', '--all is for everything; it goes with no name and no id');
  // What was left of a half-made or half-removed VM has no name.
  if (!dryRun) {
    await new VmStore().sweep();
    await new TemplateStore().sweep();
  }
  const unused = await findUnused({ all, name, id });
  const losesWork = unused.ended.length + unused.images.length > 0;
  if (!dryRun && losesWork && !force && !(await confirm(question(unused)))) return;
  const { failures, ...gone } = dryRun ? { ...unused, failures: [] } : await removeEach(unused);
  report(gone, { json: json && failures.length === 0, lines: !json, dryRun });
  throwFailures(failures);
}

/** With --json there is one value on stdout: when anything failed, that is what failed. */
function report({ abandoned, ended, images }: Unused, how: { json: boolean; lines: boolean; dryRun: boolean }): void {
  const vms = [...abandoned, ...ended];
  const folders = images.map(({ folder }) => folder);
  if (how.json) printJson({ vms, images: folders });
  if (!how.lines) return;
  [...vms, ...folders.map((folder) => basename(folder))].forEach(print);
  if (images.length > 0) process.stderr.write(`polyvisor: ${sizeOf(images)} ${how.dryRun ? 'would be' : 'are'} free\n`);
}

function question({ abandoned, ended, images }: Unused): string {
  const vms = [...abandoned, ...ended];
  const parts = [
    ...(vms.length > 0 ? [`${vms.length === 1 ? 'the VM' : `${vms.length} VMs:`} ${vms.join(', ')}`] : []),
    ...(images.length > 0 ? [imagesText(images)] : []),
  ];
  return `Remove ${parts.join(' and ')}?`;
}
