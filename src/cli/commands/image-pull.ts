import { text } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import type { GuestArch } from '../../config/host.ts';
import { VmError } from '../../errors.ts';
import type { Credentials } from '../../images/registry/credentials.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { byteCount, timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';

interface PullFlags {
  arch?: GuestArch;
  maxSize?: number;
  username?: string;
  passwordStdin?: boolean;
  timeout?: number;
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor image pull` */
export function pullCommand(): Command {
  const about =
    'Gets an image from a registry, unless the very same is there, and prints its name. Without a registry Docker Hub is meant. Who asks is known ' +
    'from `docker login`, or told by --username.';
  return newCommand('pull', about, [
    'image pull python:3-slim',
    'image pull ghcr.io/team/app:1 app',
    'image pull --arch arm64 debian:stable-slim arm-debian',
  ])
    .summary('get an image from a registry')
    .argument('<reference>', '[registry/]repository[:tag][@digest]')
    .argument('[name]', 'name of the image (default: the reference)')
    .option('--username <name>', 'who asks')
    .option('--password-stdin', 'read the password or token from stdin')
    .addOption(
      new Option('--arch <arch>', "for guests of this architecture (default: this host's)").choices(['amd64', 'arm64']),
    )
    .addOption(
      new Option('--max-size <size>', 'most bytes of all files, such as 8G (default: 64G)').argParser(byteCount),
    )
    .addOption(new Option('--timeout <time>', 'most time, such as 5m (default: none)').argParser(timeMs))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (reference: string, name: string | undefined, flags: PullFlags) => {
      const credentials = await credentialsOf(flags);
      const { pullImage } = await import('../../sandbox/root-images.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const { arch, maxSize: maxBytes, timeout: timeoutMs } = flags;
        const onEvent = progress.onImportEvent.bind(progress);
        const made = await pullImage(reference, {
          name,
          arch,
          credentials,
          maxBytes,
          timeoutMs,
          signal,
          onEvent,
        }).finally(() => progress.end());
        if (flags.json === true) printJson(made);
        else print(made.name);
      });
    });
}

/** A password stands on no command line: others could read it there. */
async function credentialsOf({ username, passwordStdin }: PullFlags): Promise<Credentials | undefined> {
  if (username === undefined && passwordStdin === undefined) return undefined;
  if (username === undefined || passwordStdin === undefined)
    throw new VmError('INVALID_ARGUMENT', '--username and --password-stdin go together');
  return { username, password: (await text(process.stdin)).replace(/\r?\n$/, '') };
}
