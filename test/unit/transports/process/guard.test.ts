import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { identify, type ProcessIdentity } from '../../../../src/state/process-identity.ts';
import { makeFifos } from '../../../../src/transports/process/fifo.ts';
import { guard } from '../../../../src/transports/process/guard.ts';
import { hasKeeper, joinLease, type Lease } from '../../../../src/transports/process/lease.ts';
import { pidsNaming, until, workspace } from './workspace.ts';

const at = workspace();

interface Guarded {
  child: ChildProcess;
  gone: Promise<unknown>;
  lease: Lease;
}

/** A program that has no keeper, gets one. `keepsAlive`: it holds the FIFO `alive` as long as it lives. */
async function guarded(keepsAlive = true): Promise<Guarded> {
  await makeFifos(at.file('alive'));
  // Both ways: it waits for no other side.
  const alive = openSync(at.file('alive'), 'r+');
  const child = spawn('sleep', ['100'], {
    stdio: ['ignore', 'ignore', 'ignore', keepsAlive ? alive : 'ignore'],
  });
  const gone = once(child, 'exit');
  await once(child, 'spawn');
  closeSync(alive);
  const program = identify(child.pid ?? 0) as ProcessIdentity;
  const prune = ['touch', at.file('pruned')];
  return { child, gone, lease: await guard({ program, lease: at.file('lease'), alive: at.file('alive'), prune }) };
}
const pruned = (): boolean => readdirSync(at.folder).includes('pruned');
const keepers = (): number[] => pidsNaming(at.file('pruned'));

test('goes by itself when the program has ended, and does not prune', async () => {
  const { child, gone, lease } = await guarded();
  expect(keepers().length).toBeGreaterThan(0);
  child.kill('SIGKILL');
  await gone;
  await until('the keeper has gone', () => keepers().length === 0);
  await until('the lease is let go', () => !lease.held);
  expect(pruned()).toBe(false);
});

test('ends the program and prunes when no owner is left', async () => {
  const { gone, lease } = await guarded();
  const heir = await joinLease(at.file('lease'));
  await lease.release();
  expect(await hasKeeper(at.file('lease'))).toBe(true);
  await heir.release();
  expect(await gone).toEqual([null, 'SIGKILL']);
  await until('the prune command has run', pruned);
  await until('the keeper has gone', () => keepers().length === 0);
});

test.each(['detach', 'end'] as const)('goes on the word %s, and leaves the program alone', async (word) => {
  const { child, gone, lease } = await guarded();
  await lease.order(word);
  await until('the keeper has gone', () => keepers().length === 0);
  expect([child.exitCode, child.signalCode]).toEqual([null, null]);
  child.kill('SIGKILL');
  await gone;
  expect(pruned()).toBe(false);
});

test('keeps a program that closed the FIFO by itself', async () => {
  const { child, gone, lease } = await guarded(false);
  // What it looks at after the FIFO's end takes it 1.4 s in all.
  await until('only one part of the keeper is left', () => keepers().length === 1);
  expect([child.exitCode, child.signalCode, lease.held]).toEqual([null, null, true]);
  await lease.release();
  expect(await gone).toEqual([null, 'SIGKILL']);
  await until('the prune command has run', pruned);
});

test('does not take a later process of the same pid for the program', async () => {
  const { child, gone, lease } = await guarded();
  const stranger = identify(child.pid ?? 0) as ProcessIdentity;
  await lease.order('end');
  await until('the keeper has gone', () => keepers().length === 0);
  const other = await guard({
    program: { ...stranger, startTime: stranger.startTime - 1 },
    lease: at.file('lease'),
    alive: at.file('alive'),
    prune: ['touch', at.file('pruned')],
  });
  await other.release();
  // Its second part is gone, and it has closed the lease: before it forks that part it is alone, too.
  await until('the keeper waits for the FIFO', () => {
    const [pid, ...others] = keepers();
    return pid !== undefined && others.length === 0 && !existsSync(`/proc/${pid}/fd/4`);
  });
  expect([child.exitCode, child.signalCode]).toEqual([null, null]);
  child.kill('SIGKILL');
  await gone;
  await until('the prune command has run', pruned);
});
