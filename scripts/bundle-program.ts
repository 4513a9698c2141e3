// dist/program/: the command line program as one file, and what V8 made of it. Loading three hundred small ones takes twice the
// time that a short command has; what a command does not need stays unevaluated in it. The library is not bundled.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

const folder = 'dist/program';

rmSync(folder, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: ['src/cli/main.ts'],
  outfile: `${folder}/main.cjs`,
  bundle: true,
  // V8's compiled code of ES modules can't be kept (Node 20).
  format: 'cjs',
  define: { 'import.meta.url': 'ownUrl' },
  banner: { js: "const ownUrl = require('node:url').pathToFileURL(__filename).href;" },
  platform: 'node',
  target: 'node20.19',
  // One is the user's own if anyone's, the others are large and seldom used.
  external: ['@opentelemetry/api', '@grpc/grpc-js', '@grpc/proto-loader'],
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});

// What is left beyond ASCII stands in comments (esbuild: charset): without it, a byte is a character.
writeFileSync(`${folder}/main.cjs`, readFileSync(`${folder}/main.cjs`, 'utf8').replaceAll(/[^\0-\x7f]/g, '?'));

const packages = new Set(
  Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
);
const notices = [...packages].toSorted().map((name) => {
  const at = path.join('node_modules', name);
  const licence = readdirSync(at).find((file) => /^licen[cs]e/i.test(file));
  if (licence === undefined) throw new Error(`${name} has no licence file to ship with it`);
  return `${name}\n\n${readFileSync(path.join(at, licence), 'utf8').trim()}\n`;
});
writeFileSync(`${folder}/LICENSES.txt`, `main.cjs holds parts of these packages.\n\n${notices.join('\n')}`);
