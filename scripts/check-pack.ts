// Is the tarball that would be published what it says it is? Packs it as npm would and lets publint and attw judge.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run, tool } from './run.ts';

const required = [
  'bin/load-program.js',
  'bin/polyvisor.js',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/program/main.cjs',
  'dist/program/main.v8',
  'dist/program/LICENSES.txt',
  'docs/errors.md',
  'LICENSE',
  'README.md',
];
const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-pack-'));
try {
  await must('npm', ['run', '--silent', 'build']);
  await must('npm', ['pack', '--silent', '--pack-destination', folder]);
  const tarball = path.join(folder, readdirSync(folder)[0] ?? '');
  const files = (await must('tar', ['-tzf', tarball])).split('\n').map((file) => file.replace(/^package\//, ''));
  const missing = required.filter((file) => !files.includes(file));
  if (missing.length > 0) throw new Error(`the tarball lacks ${missing.join(', ')}`);
  const stray = files.filter((file) => /^(test|scripts|src|node_modules)\/|^dist\/\./.test(file));
  if (stray.length > 0) throw new Error(`the tarball holds ${stray.join(', ')}`);
  await must(tool('publint'), ['run', tarball, '--strict']);
  await must(tool('attw'), [tarball, '--profile', 'esm-only', '--no-emoji', '--no-color']);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}

async function must(command: string, args: string[]): Promise<string> {
  const { ok, output } = await run(command, args);
  if (!ok) throw new Error(`${path.basename(command)} ${args.join(' ')}\n${output}`);
  return output;
}
