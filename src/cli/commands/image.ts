import { type Command, Option } from 'commander';
import type { ImageInUse } from '../../sandbox/images.ts';
import type { RootImageInUse } from '../../sandbox/root-images.ts';
import { mebibytes } from '../units.ts';
import type { GuestArch } from '../../config/host.ts';
import { places } from '../../state/paths.ts';
import { forEachName, newCommand } from '../command.ts';
import { confirm } from '../confirm.ts';
import { bytesOf, imageListing, imagesText, keyOf } from '../image-list.ts';
import { interruptible } from '../interrupts.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';
import { importCommand } from './image-import.ts';
import { pullCommand } from './image-pull.ts';
import { saveCommand } from './image-save.ts';

/** `polyvisor image` */
export function image(): Command {
  return newCommand('image', 'Pulls, imports, builds, saves, lists and removes images.', [
    'image import app.tar',
    'image ls',
    'image prune',
  ])
    .addCommand(build())
    .addCommand(importCommand())
    .addCommand(pullCommand())
    .addCommand(saveCommand())
    .addCommand(list())
    .addCommand(inspect())
    .addCommand(remove())
    .addCommand(prune());
}

interface BuildFlags {
  arch?: GuestArch;
  packages?: string[];
  suite?: string;
  mirror?: string;
  mirrorSha256?: string;
  keyring?: string;
  force?: boolean;
  quiet?: boolean;
  json?: boolean;
}

function build(): Command {
  const about =
    'Makes the default guest, unless it is there, and prints its folder; or, with --packages, a root image of Debian packages, and prints its name.';
  return newCommand('build', about, [
    'image build',
    'image build --force',
    'image build --arch arm64',
    'image build --packages python3,git tools',
    'image build --mirror https://deb.debian.org/debian --suite bookworm',
  ])
    .summary('make the default guest, or an image of packages')
    .argument('[name]', 'name of the image that is made of packages')
    .addOption(
      new Option('--packages <names>', 'Debian packages, with commas between them; repeatable').argParser(words),
    )
    .addOption(
      new Option('--arch <arch>', "architecture of the default guest (default: this host's)").choices([
        'amd64',
        'arm64',
      ]),
    )
    .option(
      '--suite <name>',
      "with --packages or --mirror: version of Debian, such as bookworm (default: the host's, else stable; of a mirror bookworm)",
    )
    .option(
      '--mirror <url>',
      "take the default guest's packages from there by HTTPS, and not by apt (default: where there is no apt, Debian's)",
    )
    .option(
      '--mirror-sha256 <digest>',
      "SHA-256 of the Release file of the mirror's suite, where no signature is to be checked",
    )
    .option('--keyring <file>', "keys of which one must have signed the mirror's Release file (default: Debian's)")
    .option('-f, --force', 'make the default guest again although it is there')
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (name: string | undefined, flags: BuildFlags, self: Command) => {
      const { packages, suite, mirror: url, mirrorSha256: sha256, keyring, force = false } = flags;
      if ((name === undefined) !== (packages === undefined)) self.error('error: a name and --packages go together');
      if (name !== undefined && flags.arch !== undefined) self.error('error: --arch is for the default guest');
      const mirror = url ?? sha256 ?? keyring;
      if (name !== undefined && mirror !== undefined) self.error('error: a mirror is for the default guest alone');
      if (name === undefined && mirror === undefined && suite !== undefined)
        self.error('error: --suite goes with --packages or --mirror');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        try {
          if (name !== undefined && packages !== undefined) {
            const { buildPackageImage } = await import('../../sandbox/root-images.ts');
            const onEvent = progress.onImportEvent.bind(progress);
            const made = await buildPackageImage(name, { packages, suite, signal, onEvent });
            progress.end();
            return flags.json === true ? printJson(made) : print(made.name);
          }
          const { buildDefaultImage } = await import('../../images/build.ts');
          const { defaultGuestOf } = await import('../../images/default-guest.ts');
          const { agentPath, arch } = defaultGuestOf(flags.arch);
          const onEvent = progress.onBuildEvent.bind(progress);
          const made = await buildDefaultImage({
            cacheFolder: places().images,
            agentPath,
            arch,
            onEvent,
            signal,
            force,
            mirror: mirror === undefined ? undefined : { url, suite, sha256, keyring },
          });
          progress.end();
          return flags.json === true ? printJson(made) : print(made.folder);
        } finally {
          progress.end();
        }
      });
    });
}

function words(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(',')];
}

function list(): Command {
  return newCommand(
    'ls',
    'Lists the images of this user: guests, of which a new VM boots the one that is current, and roots.',
    ['image ls', 'image ls --json'],
  )
    .summary('list images')
    .alias('list')
    .option('-q, --quiet', 'keys of guests and names of roots only')
    .option('--json', 'print a JSON array')
    .action(async (flags: { quiet?: boolean; json?: boolean }) => {
      const { listImageUse } = await import('../../sandbox/images.ts');
      const { listRootImages } = await import('../../sandbox/root-images.ts');
      const [images, roots] = [await listImageUse(), await listRootImages()];
      if (flags.json === true)
        return printJson([...images, ...roots].map(({ image: it, ...use }) => ({ ...it, ...use })));
      if (flags.quiet !== true) return print(imageListing(images, roots));
      images.forEach(({ image: it }) => print(keyOf(it)));
      roots.forEach(({ image: it }) => print(it.name));
    });
}

function inspect(): Command {
  return newCommand('inspect', 'Prints all that is known of images, as a JSON array.', [
    'image inspect default',
    'image inspect python3',
    'image inspect 0f3a9c',
  ])
    .summary('print all about images, as JSON')
    .argument('<image...>', 'names, or the beginnings of keys')
    .option('--json', 'as always')
    .action(async (words: string[]) => {
      const { findImageUse } = await import('../../sandbox/images.ts');
      const { findRootImages } = await import('../../sandbox/root-images.ts');
      const find = async (word: string): Promise<(ImageInUse | RootImageInUse)[]> => {
        const roots = await findRootImages(word);
        return roots.length > 0 ? roots : findImageUse(word);
      };
      const found = await Promise.all(words.map(find));
      printJson(found.flat().map(({ image: it, ...use }) => ({ ...it, ...use })));
    });
}

function remove(): Command {
  return newCommand('rm', 'Removes images. Prints what was named.', ['image rm python3', 'image rm -f default'])
    .summary('remove images')
    .argument('<image...>', 'names, or the beginnings of keys')
    .option('-f, --force', 'although a VM was made of it; a VM that runs goes on')
    .option('--json', 'print a JSON array of what was named')
    .action(async (words: string[], flags: { force?: boolean; json?: boolean }) => {
      const { removeImageOf } = await import('../../sandbox/images.ts');
      const force = flags.force === true;
      const { findRootImages, removeRootImage } = await import('../../sandbox/root-images.ts');
      const removeOne = async (word: string): Promise<void> => {
        if ((await findRootImages(word)).length > 0) await removeRootImage(word, { force });
        else await removeImageOf(word, { force });
      };
      await forEachName(words, removeOne, flags);
    });
}

function prune(): Command {
  const about =
    'Removes guests that are out of date and roots that have lost their names, unless a VM has them. Prints the keys of guests and the names of roots.';
  return newCommand('prune', about, ['image prune', 'image prune --dry-run', 'image prune -af'])
    .summary('remove old images')
    .option('-a, --all', 'all that no VM has')
    .option('--dry-run', 'print what would be removed')
    .option('-f, --force', 'do not ask')
    .option('--json', 'print a JSON array')
    .action(async (flags: { all?: boolean; dryRun?: boolean; force?: boolean; json?: boolean }) => {
      const { all = false, dryRun = false, force = false } = flags;
      const { pruneKernels, unusedImages } = await import('../../sandbox/images.ts');
      const { listRootImages, pruneRootImages } = await import('../../sandbox/root-images.ts');
      const { removeImage } = await import('../../images/remove.ts');
      const images = await unusedImages({ all });
      const roots = all ? (await listRootImages()).filter(({ usedBy }) => usedBy.length === 0) : [];
      const asks = images.length + roots.length > 0 && !dryRun && !force;
      const names = roots.map(({ image: it }) => it.name);
      const what = [...(images.length > 0 ? [imagesText(images)] : []), ...names].join(', ');
      if (asks && !(await confirm(`Remove ${what}?`))) return;
      if (!dryRun) {
        for (const it of images) await removeImage(places().images, it);
        await pruneRootImages({ all });
        await pruneKernels();
      }
      if (flags.json === true) return printJson([...images, ...roots.map(({ image: it }) => it)]);
      images.forEach((it) => print(keyOf(it)));
      names.forEach(print);
      const bytes = roots.reduce((sum, { image: it }) => sum + it.manifest.root.size, bytesOf(images));
      process.stderr.write(`polyvisor: ${mebibytes(bytes)} ${dryRun ? 'would be' : 'are'} free\n`);
    });
}
