import { type Command, Option } from 'commander';
import { VmError } from '../../errors.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';

interface SaveFlags {
  format?: 'oci' | 'tar' | 'disk';
  timeout?: number;
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor image save` */
export function saveCommand(): Command {
  const about =
    'Writes an image as an OCI archive, which `image import`, skopeo, podman and docker read. Prints the path of the file. With `-` the archive ' +
    'goes to stdout.';
  return newCommand('save', about, [
    'image save app:1 app.tar',
    'image save app:1 - | zstd > app.tar.zst',
    'image save --format disk app:1 app.img',
  ])
    .summary('write an image as an OCI archive or a disk')
    .argument('<image>', 'name of the image')
    .argument('<file>', 'file to write; `-` is stdout')
    .addOption(
      new Option(
        '--format <format>',
        'an OCI archive, a tar archive of its files alone, or its file system as a raw disk (default: oci; disk for an image of a disk)',
      ).choices(['oci', 'tar', 'disk']),
    )
    .addOption(new Option('--timeout <time>', 'most time, such as 5m (default: none)').argParser(timeMs))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (name: string, file: string, flags: SaveFlags) => {
      const toStdout = file === '-';
      if (toStdout && flags.json === true)
        throw new VmError('INVALID_ARGUMENT', '--json and the archive both go to stdout');
      if (toStdout && process.stdout.isTTY)
        throw new VmError('INVALID_ARGUMENT', 'an archive is not for a terminal: name a file, or pipe it on');
      const { saveImage } = await import('../../sandbox/save-image.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const onEvent = progress.onImportEvent.bind(progress);
        const options = { signal, timeoutMs: flags.timeout, format: flags.format, onEvent };
        const format = await saveImage(name, toStdout ? process.stdout : file, options).finally(() => progress.end());
        if (flags.format === undefined && format === 'disk' && flags.quiet !== true)
          process.stderr.write(`polyvisor: ${name} was imported from a disk, and is saved as one: a raw file system\n`);
        if (flags.json === true) printJson({ name, file, format });
        else if (!toStdout) print(file);
      });
    });
}
