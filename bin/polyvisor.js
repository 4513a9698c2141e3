#!/usr/bin/env -S node --
// Without the two dashes Node takes an `--env-file` among our own arguments for its own.
import { existsSync, readFileSync } from 'node:fs';

const argv = process.argv.slice(2);
const plainVersion = argv.length === 1 && ['--version', '-V', 'version'].includes(argv[0]);

if (plainVersion) {
  // Answered from package.json alone: loading the library would take several times as long as starting node.
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  process.stdout.write(`${version}\n`);
} else if (existsSync(new URL('../dist/program/main.js', import.meta.url))) {
  const { main } = await import('../dist/program/main.js');
  await main(argv);
} else {
  process.stderr.write('polyvisor: not built yet; run `npm ci && npm run build` in the checkout first\n');
  process.exitCode = 125;
}
