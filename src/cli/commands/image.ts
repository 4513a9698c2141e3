import type { Command } from 'commander';
import { agentBinary } from '../../config/package-files.ts';
import type { GuestImage } from '../../images/image.ts';
import { places } from '../../state/paths.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';
import { table } from '../table.ts';
import { mebibytes } from '../units.ts';

/** `polyvisor image` */
export function image(): Command {
  return newCommand('image', 'Builds and lists guest images.', ['image build', 'image ls'])
    .addCommand(build())
    .addCommand(list());
}

function build(): Command {
  return newCommand('build', 'Makes the default guest, unless it is there. Prints its folder.', [
    'image build',
    'image build --force',
  ])
    .summary('make the default guest')
    .option('-f, --force', 'make it again although it is there')
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (flags: { force?: boolean; quiet?: boolean; json?: boolean }) => {
      const { buildDefaultImage } = await import('../../images/build.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const made = await buildDefaultImage({
          cacheFolder: places().images,
          agentPath: agentBinary,
          onEvent: (event) => progress.onBuildEvent(event),
          signal,
          force: flags.force === true,
        }).finally(() => progress.end());
        if (flags.json === true) printJson(made);
        else print(made.folder);
      });
    });
}

function list(): Command {
  return newCommand('ls', 'Lists the guest images of this user.', ['image ls'])
    .summary('list guest images')
    .alias('list')
    .option('--json', 'print a JSON array')
    .action(async (flags: { json?: boolean }) => {
      const { listImages } = await import('../../images/store.ts');
      const images = await listImages(places().images);
      if (flags.json === true) printJson(images);
      else print(imageListing(images));
    });
}

/** Images as a table, the newest first. */
export function imageListing(images: readonly GuestImage[]): string {
  const rows = images.map(({ name, folder, manifest: { key, kernelRelease, architecture, files } }) => {
    const size = mebibytes(files.kernel.size + files.initrd.size).replace(' ', '');
    return [name, key.slice(0, 12), kernelRelease, architecture, size, folder];
  });
  return table(['NAME', 'KEY', 'KERNEL', 'ARCH', 'SIZE', 'FOLDER'], rows);
}
