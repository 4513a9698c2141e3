// The one gate: every check that needs no tests, as many at once as there are cores. Prints the output of what fails.
import { availableParallelism } from 'node:os';
import { run } from './run.ts';

/** Longest first. */
const checks = ['pack:check', 'typecheck', 'lint', 'deps', 'docs:check', 'dead', 'format:check'];

const waiting = [...checks];
const failed: string[] = [];

await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, worker));
if (failed.length > 0) {
  console.error(`failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}

async function worker(): Promise<void> {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const { ok, output, seconds } = await run('npm', ['run', '--silent', name]);
    console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`);
    if (ok) continue;
    failed.push(name);
    console.error(output.trimEnd());
  }
}
