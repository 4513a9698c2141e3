import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { aftermath } from './aftermath.ts';
import { randomFrom, seed } from './random.ts';

/**
 * Kills an owner at random moments of its VM's life, from Node's own start to the VM's removal.
 * @returns what was wrong, a line for each
 */
export async function killAtRandom(options: VmOptions, times: number): Promise<string[]> {
  const random = randomFrom(seed);
  const wrong: string[] = [];
  const { lifeMs } = await live(options);
  wrong.push(...(await aftermath({ detached: false, remains: false })));
  // oxlint-disable-next-line no-console -- so that a run that fails can be done again
  console.log(`${times} kills within ${Math.round(lifeMs)} ms, POLYVISOR_SEED=${seed}`);
  for (let nth = 1; nth <= times; nth++) {
    const afterMs = random() * lifeMs;
    await live(options, afterMs);
    const problems = await aftermath({ detached: false, remains: false });
    wrong.push(...problems.map((words) => `kill ${nth}, after ${Math.round(afterMs)} ms: ${words}`));
  }
  return wrong;
}

/** Lets an owner take its VM through its life, or through as much as it gets. */
async function live(options: VmOptions, killAfterMs?: number): Promise<{ lifeMs: number }> {
  const began = performance.now();
  const script = fileURLToPath(new URL('owner.js', import.meta.url));
  const owner = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(owner, 'exit');
  if (killAfterMs !== undefined) {
    await Promise.race([delay(killAfterMs), ended]);
    owner.kill('SIGKILL');
  }
  const [code] = (await ended) as [number | null];
  if (killAfterMs === undefined && code !== 0) throw new Error(`the owner ends with ${code}`);
  return { lifeMs: performance.now() - began };
}
