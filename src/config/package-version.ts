import { readFileSync } from 'node:fs';
import { packageJson } from './package-files.ts';

/** The version of polyvisor. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string }).version;
}
