import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { isAlive, type ProcessIdentity } from '../../../../src/state/process-identity.ts';
import { readExit } from '../../../../src/transports/process/exit-status.ts';
import { joinLease } from '../../../../src/transports/process/lease.ts';
import { waitGone } from '../../../../src/transports/process/wait-gone.ts';
import { pidsNaming, startOwner, until, workspace } from './workspace.ts';

const at = workspace();

interface Started {
  child: ProcessIdentity;
  keeper: ProcessIdentity;
}

test('an owner killed with SIGKILL takes program and keeper along, and the prune command runs', async () => {
  const owner = startOwner(at.options(['sleep', '100'], { prune: ['touch', at.file('pruned')] }));
  expect(await owner.next()).toBe('go');
  const { child, keeper } = JSON.parse(await owner.next()) as Started;
  expect(isAlive(child) && isAlive(keeper)).toBe(true);
  owner.process.kill('SIGKILL');
  await waitGone(child, { timeoutMs: 5000 });
  await waitGone(keeper, { timeoutMs: 5000 });
  await until('the prune command has run', () => readdirSync(at.folder).includes('pruned'));
  expect(await readExit(at.file('exit'))).toEqual({ signal: 'SIGKILL', by: 'lease' });
});

test('without owner and keeper the program ends as well, and the prune command runs', async () => {
  const owner = startOwner(at.options(['sleep', '100'], { prune: ['touch', at.file('pruned')] }));
  await owner.next();
  const { child, keeper } = JSON.parse(await owner.next()) as Started;
  // It can do nothing about the keeper's end.
  owner.process.kill('SIGSTOP');
  process.kill(keeper.pid, 'SIGKILL');
  owner.process.kill('SIGKILL');
  await waitGone(child, { timeoutMs: 5000 });
  await until('the prune command has run', () => readdirSync(at.folder).includes('pruned'));
});

test('an owner killed at any moment of a launch leaves no process, and is pruned after', async () => {
  writeFileSync(at.file('followed'), '');
  for (let round = 0; round < 24; round++) {
    for (const name of ['pruned', 'lease']) rmSync(at.file(name), { force: true });
    // Its command line tells whose it is.
    const owner = startOwner(at.options(['tail', '-f', at.file('followed')], { prune: ['touch', at.file('pruned')] }));
    await owner.next();
    await delay(round * 2.5);
    owner.process.kill('SIGKILL');
    await once(owner.process, 'close');
    await until('no process is left', () => pidsNaming(at.folder).length === 0);
    // One that was killed before it had begun a keeper has nothing that could be pruned.
    const left = readdirSync(at.folder);
    expect(left.includes('lease') && !left.includes('pruned')).toBe(false);
  }
  expect(readdirSync(at.folder)).toContain('pruned');
}, 60_000);

test('a process that joins the lease keeps the program alive after its owner died', async () => {
  const owner = startOwner(at.options(['sleep', '100'], { prune: ['touch', at.file('pruned')] }));
  await owner.next();
  const { child, keeper } = JSON.parse(await owner.next()) as Started;
  const lease = await joinLease(at.file('lease'));
  owner.process.kill('SIGKILL');
  await once(owner.process, 'close');
  await delay(100);
  expect(isAlive(child) && isAlive(keeper)).toBe(true);
  await lease.release();
  await waitGone(child, { timeoutMs: 5000 });
  await waitGone(keeper, { timeoutMs: 5000 });
  await until('the prune command has run', () => readdirSync(at.folder).includes('pruned'));
  await expect(lease.order('detach')).rejects.toMatchObject({ code: 'NOT_RUNNING' });
});

test('a process that joins the lease can detach the program', async () => {
  const owner = startOwner(at.options(['sleep', '100']));
  await owner.next();
  const { child, keeper } = JSON.parse(await owner.next()) as Started;
  const lease = await joinLease(at.file('lease'));
  await lease.order('detach');
  await waitGone(keeper, { timeoutMs: 5000 });
  await lease.release();
  owner.process.kill('SIGKILL');
  await once(owner.process, 'close');
  expect(isAlive(child)).toBe(true);
  await expect(joinLease(at.file('lease'))).rejects.toMatchObject({ code: 'NOT_RUNNING' });
  process.kill(child.pid, 'SIGKILL');
  await waitGone(child, { timeoutMs: 5000 });
});

test('there is no lease to join without a launch', async () => {
  await expect(joinLease(at.file('lease'))).rejects.toMatchObject({ code: 'NOT_RUNNING' });
});
