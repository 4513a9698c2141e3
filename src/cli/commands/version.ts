import type { Command } from 'commander';
import { packageVersion } from '../../config/package-version.ts';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';

/** `polyvisor version` */
export function version(): Command {
  return newCommand('version', 'Prints the version.', ['version', 'version --json'])
    .option('--json', 'print a JSON object')
    .action((flags: { json?: boolean }) => {
      if (flags.json === true)
        printJson({ polyvisor: packageVersion(), node: process.versions.node, arch: process.arch });
      else print(packageVersion());
    });
}
