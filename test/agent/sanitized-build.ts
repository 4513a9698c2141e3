import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const checkout = path.resolve(import.meta.dirname, '../..');
const builder = path.join(checkout, 'scripts/build-agent');
const sources = path.join(checkout, 'guest/agent');
const cache = path.join(checkout, 'node_modules/.cache/agent-test');

const flags = [
  '-g -O1 -fno-omit-frame-pointer',
  '-fsanitize=address,undefined -fno-sanitize-recover=all',
  // No array of ours is indexed by a constant the compiler could judge better than the sanitizer does.
  '-Wno-error=format-truncation',
].join(' ');

/** What makes a sanitizer's finding end the program with status 99 and a report on stderr. */
export const sanitizerEnvironment: Record<string, string> = {
  ASAN_OPTIONS: 'exitcode=99:detect_leaks=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'exitcode=99:print_stacktrace=1',
};

/**
 * Compiles the agent with the address and undefined-behaviour sanitizers, once for each content of its sources.
 * @param main - a C file that takes the place of the agent's `main.c`.
 * @returns the program's path.
 */
export async function buildSanitized(main?: string): Promise<string> {
  const hash = createHash('sha256').update(flags).update(readFileSync(builder));
  for (const file of readdirSync(sources).toSorted()) hash.update(file).update(readFileSync(path.join(sources, file)));
  if (main) hash.update(readFileSync(main));
  const folder = path.join(cache, hash.digest('hex').slice(0, 16));
  const program = path.join(folder, main ? path.basename(main, '.c') : 'polyvisor-agent');
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    await promisify(execFile)(builder, ['--flags', flags, '--out', program, ...(main ? ['--add', main] : [])]);
  }
  return program;
}
