import type { Command } from 'commander';
import { agentBinary } from '../../config/package-files.ts';
import { places } from '../../state/paths.ts';
import { forEachName, newCommand } from '../command.ts';
import { confirm } from '../confirm.ts';
import { imageListing, imagesText, keyOf, sizeOf } from '../image-list.ts';
import { interruptible } from '../interrupts.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';

/** `polyvisor image` */
export function image(): Command {
  return newCommand('image', 'Builds, lists and removes guest images.', ['image build', 'image ls', 'image prune'])
    .addCommand(build())
    .addCommand(list())
    .addCommand(inspect())
    .addCommand(remove())
    .addCommand(prune());
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
  return newCommand('ls', 'Lists the guest images of this user. A new VM boots the one whose state is current.', [
    'image ls',
    'image ls --json',
  ])
    .summary('list guest images')
    .alias('list')
    .option('-q, --quiet', 'keys only')
    .option('--json', 'print a JSON array')
    .action(async (flags: { quiet?: boolean; json?: boolean }) => {
      const { listImageUse } = await import('../../sandbox/images.ts');
      const images = await listImageUse();
      if (flags.json === true) printJson(images.map(({ image: it, ...use }) => ({ ...it, ...use })));
      else if (flags.quiet === true) images.forEach(({ image: it }) => print(keyOf(it)));
      else print(imageListing(images));
    });
}

function inspect(): Command {
  return newCommand('inspect', 'Prints all that is known of guest images, as a JSON array.', [
    'image inspect default',
    'image inspect 0f3a9c',
  ])
    .summary('print all about guest images, as JSON')
    .argument('<image...>', 'names, or the beginnings of keys')
    .option('--json', 'as always')
    .action(async (words: string[]) => {
      const { findImageUse } = await import('../../sandbox/images.ts');
      const found = await Promise.all(words.map((word) => findImageUse(word)));
      printJson(found.flat().map(({ image: it, ...use }) => ({ ...it, ...use })));
    });
}

function remove(): Command {
  return newCommand('rm', 'Removes guest images. Prints what was named.', ['image rm 0f3a9c', 'image rm -f default'])
    .summary('remove guest images')
    .argument('<image...>', 'names, or the beginnings of keys')
    .option('-f, --force', 'although a VM was made of it; a VM that runs goes on')
    .option('--json', 'print a JSON array of what was named')
    .action(async (words: string[], flags: { force?: boolean; json?: boolean }) => {
      const { removeImageOf } = await import('../../sandbox/images.ts');
      const force = flags.force === true;
      await forEachName(words, async (word) => void (await removeImageOf(word, { force })), flags);
    });
}

function prune(): Command {
  return newCommand('prune', 'Removes guest images that are out of date and that no VM uses. Prints their keys.', [
    'image prune',
    'image prune --dry-run',
    'image prune -af',
  ])
    .summary('remove old guest images')
    .option('-a, --all', 'the one that is current, too')
    .option('--dry-run', 'print what would be removed')
    .option('-f, --force', 'do not ask')
    .option('--json', 'print a JSON array')
    .action(async (flags: { all?: boolean; dryRun?: boolean; force?: boolean; json?: boolean }) => {
      const { dryRun = false, force = false } = flags;
      const { unusedImages } = await import('../../sandbox/images.ts');
      const { removeImage } = await import('../../images/remove.ts');
      const images = await unusedImages({ all: flags.all === true });
      const asks = images.length > 0 && !dryRun && !force;
      if (asks && !(await confirm(`Remove ${imagesText(images)}?`))) return;
      if (!dryRun) for (const it of images) await removeImage(places().images, it);
      if (flags.json === true) return printJson(images);
      images.forEach((it) => print(keyOf(it)));
      process.stderr.write(`polyvisor: ${sizeOf(images)} ${dryRun ? 'would be' : 'are'} free\n`);
    });
}
