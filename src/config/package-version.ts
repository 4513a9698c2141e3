import { readFileSync } from 'node:fs';
import { packageJson } from './package-files.ts';

let known: string | undefined;

/** The version of polyvisor. */
export function packageVersion(): string {
  known ??= (JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string }).version;
  return known;
}
