import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { lock, tryLock } from '../../../src/state/lock.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-lock-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function holder(name: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('lock-holder.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, folder, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

test('one holds it at a time; other names and folders are other locks', async () => {
  const held = await lock(folder, 'a');
  expect(await tryLock(folder, 'a')).toBeUndefined();
  const other = await tryLock(folder, 'b');
  expect(other).toBeDefined();
  await held.release();
  await held.release();
  const again = await tryLock(folder, 'a');
  expect(again).toBeDefined();
  await again?.[Symbol.asyncDispose]();
  await other?.release();
});

test('waiters get it one after the other, and never two at once', async () => {
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      const held = await lock(folder, 'a');
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      await held.release();
    }),
  );
  expect(most).toBe(1);
});

test('a time limit ends the wait with BUSY, a signal with ABORTED', async () => {
  const held = await lock(folder, 'a');
  await expect(lock(folder, 'a', { timeoutMs: 20 })).rejects.toMatchObject({ code: 'BUSY' });
  const aborter = new AbortController();
  setTimeout(() => aborter.abort(), 20);
  await expect(lock(folder, 'a', { signal: aborter.signal })).rejects.toMatchObject({ code: 'ABORTED' });
  await held.release();
});

test('a call whose time is over already finds nothing taken', async () => {
  const signal = AbortSignal.abort(new VmError('TIMEOUT', 'create took longer than 150 ms'));
  await expect(lock(folder, 'a', { signal })).rejects.toMatchObject({ code: 'TIMEOUT' });
});

test('it is freed at once when its holder is killed, and who waits gets it', async () => {
  const child = await holder('a');
  expect(await tryLock(folder, 'a')).toBeUndefined();
  const waiting = lock(folder, 'a', { timeoutMs: 5000 });
  child.kill('SIGKILL');
  await (await waiting).release();
});

test('a holder that was stopped still holds it', async () => {
  const child = await holder('a');
  child.kill('SIGSTOP');
  await expect(lock(folder, 'a', { timeoutMs: 50 })).rejects.toMatchObject({ code: 'BUSY' });
  child.kill('SIGKILL');
  await once(child, 'close');
});

test('the token is made once, for us alone', async () => {
  const locks = await Promise.all(['a', 'b', 'c', 'd'].map((name) => lock(folder, name)));
  expect(readdirSync(folder)).toEqual(['lock-token']);
  expect(statSync(path.join(folder, 'lock-token')).mode & 0o777).toBe(0o600);
  for (const held of locks) await held.release();
});

test('a folder that is gone has no locks', async () => {
  await expect(tryLock(path.join(folder, 'nothing'), 'a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  writeFileSync(path.join(folder, 'file'), '');
  chmodSync(path.join(folder, 'file'), 0o600);
  await expect(tryLock(path.join(folder, 'file'), 'a')).rejects.toMatchObject({ code: 'IO' });
});
