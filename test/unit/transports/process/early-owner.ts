/*
 * An owner for the tests to kill: begins a keeper and prints `begun`, tells it that its folder is there and prints `settled` when the
 * keeper's FIFOs are there, and stays. It is killed before the one or the other.
 */
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Keeper } from '../../../../src/transports/process/keeper.ts';
import type { LaunchOptions } from '../../../../src/transports/process/launch.ts';

const { cwd, ...options } = JSON.parse(process.argv[2] ?? '') as LaunchOptions;
const keeper = await Keeper.begin(options);
process.stdout.write('begun\n');
if (cwd !== 'never') {
  mkdirSync(path.dirname(options.exitFile), { recursive: true });
  keeper.settle();
  while (!existsSync(options.alive)) await sleep(1);
  process.stdout.write('settled\n');
}
setInterval(() => undefined, 60_000);
