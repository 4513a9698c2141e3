import { spawnSync } from 'node:child_process';

/** Makes sure, once per run, that the default guest is there to be booted; a no-op when it is. */
export default function setup(): void {
  const { status } = spawnSync(process.execPath, ['bin/polyvisor.js', 'image', 'build'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('`polyvisor image build` failed: there is no guest to test with');
}
