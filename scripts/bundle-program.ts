// dist/program/: the command line program as one file. Loading three hundred small ones takes twice the time that a short
// command has; what a command does not need stays unevaluated in it. The library is not bundled.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

const folder = 'dist/program';

const { metafile } = await build({
  entryPoints: ['src/cli/main.ts'],
  outfile: `${folder}/main.js`,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // One is the user's own if anyone's; the others are CommonJS, which can't be part of an ES module that needs Node's parts.
  external: ['@opentelemetry/api', '@grpc/grpc-js', '@grpc/proto-loader', 'commander'],
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});

const packages = new Set(
  Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
);
const notices = [...packages].toSorted().map((name) => {
  const at = path.join('node_modules', name);
  const licence = readdirSync(at).find((file) => /^licen[cs]e/i.test(file));
  if (licence === undefined) throw new Error(`${name} has no licence file to ship with it`);
  return `${name}\n\n${readFileSync(path.join(at, licence), 'utf8').trim()}\n`;
});
writeFileSync(`${folder}/LICENSES.txt`, `main.js holds parts of these packages.\n\n${notices.join('\n')}`);
