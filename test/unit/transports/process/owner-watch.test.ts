import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { watchOwner } from '../../../../src/transports/process/owner-watch.ts';
import { processesNaming, until } from '../../../fakes/child.ts';

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'watch-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Watches of this test: those whose command names its folder. */
const watches = (folder: string): number => processesNaming(folder).size;

it('all shares of a process are in one watch, which ends with the last and runs nothing', async () => {
  const folder = await temporaryFolder();
  const command = ['touch', path.join(folder, 'ran')];
  const shares = await Promise.all([watchOwner(command), watchOwner(command)]);
  expect(watches(folder)).toBe(1);
  await shares[0].end();
  await shares[0].end();
  expect(watches(folder)).toBe(1);
  await shares[1].end();
  expect(watches(folder)).toBe(0);
  const later = await watchOwner(command);
  expect(watches(folder)).toBe(1);
  await later.end();
  expect(existsSync(path.join(folder, 'ran'))).toBe(false);
});

it.each(['SIGKILL', 'SIGINT'] as const)(
  'the command is run when the owner dies of %s, and the watch ignores what its group is sent',
  async (signal) => {
    const folder = await temporaryFolder();
    const module = new URL('../../../../dist/transports/process/owner-watch.js', import.meta.url);
    const source = `const { watchOwner } = await import(${JSON.stringify(module)});
    await watchOwner(['touch', ${JSON.stringify(path.join(folder, 'ran'))}]);
    console.log('watched');
    setInterval(() => {}, 1000);`;
    const owner = spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    await once(owner.stdout, 'data');
    const ended = once(owner, 'exit');
    process.kill(-(owner.pid ?? 0), signal);
    await ended;
    await until('the command has run', () => existsSync(path.join(folder, 'ran')) && watches(folder) === 0);
  },
);
