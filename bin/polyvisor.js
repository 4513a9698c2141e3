#!/usr/bin/env -S node --
// Without the two dashes Node takes an `--env-file` among our own arguments for its own.
import { readFileSync } from 'node:fs';

const argv = process.argv.slice(2);
const plainVersion = argv.length === 1 && ['--version', '-V', 'version'].includes(argv[0]);

if (plainVersion) {
  // Answered from package.json alone: loading the library would take several times as long as starting node.
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  process.stdout.write(`${version}\n`);
} else {
  const { program } = await import('./load-program.js');
  if (program === undefined) {
    process.stderr.write('polyvisor: not built yet; run `npm ci && npm run build` in the checkout first\n');
    process.exitCode = 125;
  } else {
    await program.main(argv);
  }
}
