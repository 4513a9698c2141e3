import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  bootId,
  identify,
  isAlive,
  isIdentity,
  ownIdentity,
  parseStat,
  signalProcess,
} from '../../../src/state/process-identity.ts';

test('a process is alive until it ends, and its identity fits no other', async () => {
  const child = spawn('sleep', ['100']);
  const identity = identify(child.pid ?? 0);
  if (identity === undefined) throw new Error('not identified');
  expect(isAlive(identity)).toBe(true);
  expect(isAlive({ ...identity, startTime: identity.startTime + 1 })).toBe(false);
  expect(isAlive({ ...identity, bootId: 'another boot' })).toBe(false);
  expect(signalProcess({ ...identity, startTime: identity.startTime + 1 }, 'SIGKILL')).toBe(false);
  expect(signalProcess(identity, 'SIGTERM')).toBe(true);
  await once(child, 'close');
  expect(isAlive(identity)).toBe(false);
  expect(signalProcess(identity, 'SIGKILL')).toBe(false);
  expect(identify(identity.pid)).toBeUndefined();
});

test('a zombie is dead', async () => {
  // exec makes sleep, which never reaps, the parent of a process that has ended.
  const parent = spawn('/bin/sh', ['-c', 'sleep 0 & echo $!; exec sleep 100'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [text] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(text);
  const end = performance.now() + 5000;
  while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')) {
    if (performance.now() > end) throw new Error('no zombie');
  }
  const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  expect(stat).toMatchObject({ state: 'Z' });
  expect(identify(pid)).toBeUndefined();
  expect(isAlive({ pid, startTime: stat?.startTime ?? 0, bootId: bootId() })).toBe(false);
  parent.kill('SIGKILL');
  await once(parent, 'close');
});

test.each([0, 1, -1, 1.5, Number.NaN, 2 ** 31])('pid %d is never looked at, nor signalled', (pid) => {
  const identity = { pid, startTime: 1, bootId: bootId() };
  expect(identify(pid)).toBeUndefined();
  expect(isIdentity(identity)).toBe(false);
  expect(isAlive(identity)).toBe(false);
  expect(signalProcess(identity, 'SIGKILL')).toBe(false);
});

test('names of processes may hold anything', () => {
  const rest = 'S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 8000 1';
  expect(parseStat(`42 (a) Z 1 (b) ${rest}`)).toEqual({ state: 'S', startTime: 4711 });
  expect(parseStat(`42 ()) ${rest}`)).toEqual({ state: 'S', startTime: 4711 });
  expect(parseStat('')).toBeUndefined();
  expect(parseStat('42 (x) S')).toBeUndefined();
});

test('this process has an identity', () => {
  expect(ownIdentity()).toMatchObject({ pid: process.pid, bootId: bootId() });
  expect(isIdentity(ownIdentity())).toBe(true);
  expect(isAlive(ownIdentity())).toBe(true);
});
