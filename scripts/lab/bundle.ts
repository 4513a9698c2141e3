import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

/** Where the bundles are in the lab's checkout: as deep below its root as `src/config/`, since modules find the package's files from there. */
export const bundleFolder = '.lab/tests';

/** Name of the configuration for vitest beside the bundles. */
export const bundleConfig = 'vitest.config.mjs';

/** Names of a test file's bundle, given its path in the checkout. */
export function bundleName(test: string): string {
  return path.basename(test).replace(/\.ts$/, '.mjs');
}

/**
 * Puts each test file into one file, for vitest to take as it is: in an emulated machine each module that vitest would have to
 * transform costs a quarter of a second, and there are hundreds.
 */
export async function bundleTests(tests: readonly string[], folder: string): Promise<void> {
  const setup = 'test/support/setup.ts';
  await build({
    entryPoints: [...tests, setup].map((file) => ({ in: file, out: bundleName(file).replace(/\.mjs$/, '') })),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // What the set-up and a test both import is one module for both.
    splitting: true,
    chunkNames: 'shared-[hash]',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: ['vitest', 'vitest/*'],
    sourcemap: 'inline',
    // Dependencies in CommonJS ask for Node's own modules by `require`.
    banner: {
      js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
    },
    logLevel: 'warning',
  });
  const config = {
    test: {
      pool: 'forks',
      setupFiles: [`${bundleFolder}/${bundleName(setup)}`],
      include: [`${bundleFolder}/*.test.mjs`],
      env: { POLYVISOR_TEST_CACHE: 'user' },
      maxWorkers: 1,
      testTimeout: 600_000,
      hookTimeout: 600_000,
    },
  };
  await writeFile(path.join(folder, bundleConfig), `export default ${JSON.stringify(config, null, 2)};\n`);
}
