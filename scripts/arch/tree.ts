import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The files that count: what git tracks or would track. Paths are relative to `root`, with forward slashes. */
export interface Tree {
  root: string;
  files: string[];
  read: (file: string) => string;
}

/** The checkout at `root`; without git (an unpacked archive) it fails, as there would be nothing to judge by. */
export function readTree(root: string): Tree {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 16 << 20,
  });
  const files = [...new Set(list.split('\0'))].filter((file) => file !== '' && existsSync(path.join(root, file)));
  return { root, files: files.toSorted(), read: (file) => readFileSync(path.join(root, file), 'utf8') };
}
