import path from 'node:path';
import { type Command, Option } from 'commander';
import type { GuestArch } from '../../config/host.ts';
import type { BackingFile } from '../../images/roots/disk.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { byteCount } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';

interface ImportFlags {
  arch?: GuestArch;
  ref?: string;
  backing?: BackingFile;
  maxSize?: number;
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor image import` */
export function importCommand(): Command {
  const about =
    'Makes a root image of an OCI layout (a folder or an archive), what `docker save` or `podman save` wrote, a tar archive of a root file ' +
    'system (`docker export`), a folder, or a disk (raw or qcow2; ext4, squashfs or erofs). Prints its name.';
  return newCommand('import', about, [
    'image import app.tar',
    'image import ./rootfs my-app',
    'image import --ref app:2 layout app',
  ])
    .summary('make an image of an archive, a folder or a disk')
    .argument('<source>', 'path of the archive, folder or disk')
    .argument('[name]', 'name of the image (default: what the source calls it)')
    .option('--ref <name>', 'which image, when the source holds several; of a disk the number of a partition')
    .addOption(
      new Option(
        '--backing <file>',
        'file that a qcow2 disk builds on, FILE[:qcow2]; only one that is trusted',
      ).argParser(backingFile),
    )
    .addOption(
      new Option('--arch <arch>', "for guests of this architecture (default: this host's)").choices(['amd64', 'arm64']),
    )
    .addOption(
      new Option('--max-size <size>', 'most bytes of all files, such as 8G (default: 64G)').argParser(byteCount),
    )
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (source: string, name: string | undefined, flags: ImportFlags) => {
      const { importImage } = await import('../../sandbox/root-images.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const { ref, arch, backing, maxSize: maxBytes } = flags;
        const onEvent = progress.onImportEvent.bind(progress);
        const options = { name, ref, arch, backing, maxBytes, signal, onEvent };
        const made = await importImage(source, options).finally(() => progress.end());
        if (flags.json === true) printJson(made);
        else print(made.name);
      });
    });
}

function backingFile(text: string): BackingFile {
  const [, file = '', format = 'raw'] = /^(.+?)(?::(raw|qcow2))?$/s.exec(text) ?? [];
  return { path: path.resolve(file), format: format as BackingFile['format'] };
}
