import { spawnSync } from 'node:child_process';
import { ratio, type Estimate } from './statistics.ts';

/** `polyvisor --version` against `node -e 0`. */
export function versionRatio(pairs: number): Estimate {
  const bare = (): number => timed(['-e', '0']);
  const ours = (): number => timed(['bin/polyvisor.js', '--version']);
  // The first runs of each fill the file cache.
  bare();
  ours();
  return ratio(Array.from({ length: pairs }, () => [ours(), bare()] as const));
}

function timed(args: readonly string[]): number {
  const started = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}`);
  return performance.now() - started;
}
