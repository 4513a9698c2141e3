import path from 'node:path';
import { mkfifoTool } from './fifo.ts';
import type { KeeperOptions } from './keeper.ts';
import { keeperScripts } from './keeper-script.ts';
import { shellEnvironment } from './shell-environment.ts';

/** How a keeper shows in a list of processes. */
export const keeperName = 'polyvisor-keeper';

/** What a keeper's shell is begun with: all that is known of it before there is something to keep. */
export interface KeeperKind {
  shell: string;
  words: readonly string[];
  env: Readonly<Record<string, string>>;
  /** the same for two that can stand for each other */
  key: string;
}

/** @throws {VmError} HOST_MISSING */
export async function keeperKind(options: KeeperOptions): Promise<KeeperKind> {
  const { lease, alive, exitFile, startFile, stdout, stderr, prune = [], keeperThrough = [] } = options;
  const [shell, ...shellWords] = options.shell ?? ['/bin/sh'];
  const name = path.basename;
  const words = [
    ...[...shellWords, '-c', keeperScripts.first, keeperName, await mkfifoTool()],
    ...[lease, alive, exitFile, stdout, stderr].map((file) => name(file)),
    ...[`${prune.length}`, ...prune, ...keeperThrough],
    ...[shell, ...shellWords, '-c', keeperScripts.second, keeperName, name(lease), name(exitFile), name(startFile)],
  ];
  const env = shellEnvironment();
  // The rest of what a process gets from its parent, and Node lets a program change.
  const { geteuid, getegid, getgroups, umask } = process;
  const credentials = [geteuid?.(), getegid?.(), getgroups?.(), umask()];
  return { shell, words, env, key: JSON.stringify([shell, words, env, credentials]) };
}
