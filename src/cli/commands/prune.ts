import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import type { Unused } from '../../sandbox/unused.ts';
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
    .action((name: string | undefined, flags: PruneFlags) =>
      name === undefined && flags.id === undefined ? pruneAll(flags) : pruneOne(name, flags),
    );
}

async function pruneOne(name: string | undefined, { id, json }: PruneFlags): Promise<void> {
  const library = await import('../../sandbox/prune.ts');
  const vms = await library.prune(name, { id });
  if (json === true) printJson({ vms, images: [] });
  else vms.forEach(print);
}

async function pruneAll({ all = false, dryRun = false, force = false, json = false }: PruneFlags): Promise<void> {
  const { findUnused, removeUnused } = await import('../../sandbox/unused.ts');
  const { VmStore } = await import('../../state/store.ts');
  // What was left of a half-made or half-removed VM has no name.
  if (!dryRun) await new VmStore().sweep();
  const unused = await findUnused({ all });
  const losesWork = unused.ended.length + unused.images.length > 0;
  if (!dryRun && losesWork && !force && !(await confirm(question(unused)))) return;
  if (!dryRun) await removeUnused(unused);
  const vms = [...unused.abandoned, ...unused.ended];
  const images = unused.images.map(({ folder }) => folder);
  if (json) printJson({ vms, images });
  else [...vms, ...images.map((folder) => basename(folder))].forEach(print);
  if (images.length > 0 && !json) {
    process.stderr.write(`polyvisor: ${sizeOf(unused.images)} ${dryRun ? 'would be' : 'are'} free\n`);
  }
}

function question({ abandoned, ended, images }: Unused): string {
  const vms = [...abandoned, ...ended];
  const parts = [
    ...(vms.length > 0 ? [`${vms.length === 1 ? 'the VM' : `${vms.length} VMs:`} ${vms.join(', ')}`] : []),
    ...(images.length > 0 ? [imagesText(images)] : []),
  ];
  return `Remove ${parts.join(' and ')}?`;
}
