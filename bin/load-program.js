import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { constants, Script } from 'node:vm';

/** What `npm run build` made of src/cli: ASCII, as esbuild writes it. */
const file = fileURLToPath(new URL('../dist/program/main.cjs', import.meta.url));
/** What V8 made of that. It takes it if this very Node made it, and compiles anew otherwise, which takes as long as a short command. */
const compiled = fileURLToPath(new URL('../dist/program/main.v8', import.meta.url));

/** The command line program; undefined when it was not built. */
export const program = existsSync(file) ? load() : undefined;

function load() {
  const script = new Script(`(function (exports, require, module, __filename) {${readFileSync(file, 'latin1')}\n})`, {
    filename: file,
    cachedData: existsSync(compiled) ? readFileSync(compiled) : undefined,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(file), module, file);
  return { main: module.exports.main, script };
}
