import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { AgentUnderTest } from './agent-under-test.ts';
import { descendants, isLiving } from './processes.ts';
import type { RawClient } from './raw-client.ts';
import { buildSanitized } from './sanitized-build.ts';
import { encodeFrame, Fields, integer, tags, types } from './wire.ts';

/** Starts a sleeper that has left its parent, its session and its process group. */
const fugitive = `(setsid sh -c '(setsid sleep 60 &) ; exec sleep 60' >/dev/null 2>&1 &)`;

// The first file to come here compiles.
beforeAll(() => buildSanitized(), 120_000);

let agent: AgentUnderTest;
let client: RawClient;
beforeEach(async () => {
  agent = await AgentUnderTest.start();
  client = await agent.session();
});
afterEach(() => agent.stop());

function sleepers(): number {
  return descendants(agent.child.pid ?? 0).filter((it) => it.name === 'sleep').length;
}

async function startTree(...fields: Buffer[]): Promise<number> {
  const stream = client.spawn(['sh', '-c', `${fugitive}; exec sleep 60`], ...fields);
  await client.nextOf(types.started);
  await expect.poll(sleepers, { timeout: 10_000 }).toBe(3);
  return stream;
}

it('ends whole at CANCEL, and not before that is EXIT told', async () => {
  const stream = await startTree();
  client.send(encodeFrame(types.cancel, stream));
  const { fields } = await client.finish(stream);
  expect([fields.number(tags.signal), sleepers()]).toEqual([9, 0]);
});

it('ends whole at its time-out', async () => {
  const stream = await startTree(integer(tags.timeoutMs, 3000));
  const { fields } = await client.finish(stream);
  expect([fields.number(tags.timedOut), sleepers()]).toEqual([1, 0]);
});

it('ends with its first process, which need not wait for the pipes the rest holds', async () => {
  const { fields, stdout } = await client.run(['sh', '-c', '(setsid sleep 60 &); echo done']);
  expect([fields.number(tags.code), stdout, sleepers()]).toEqual([0, 'done\n', 0]);
});

it('ends when the host hangs up', async () => {
  await startTree();
  await client.close();
  await expect.poll(() => descendants(agent.child.pid ?? 0).length).toBe(0);
});

it('ends before a new session begins', async () => {
  await startTree();
  await client.open();
  expect(sleepers()).toBe(0);
});

it('ends with its session on a protocol error', async () => {
  await startTree();
  client.send(Buffer.from('garbage'));
  await client.nextOf(types.error);
  await expect.poll(() => descendants(agent.child.pid ?? 0).length).toBe(0);
});

it('ends with the agent, however that ends', async () => {
  await startTree();
  const tree = descendants(agent.child.pid ?? 0).map((it) => it.pid);
  const other = await AgentUnderTest.start();
  const second = await other.session();
  second.spawn(['sh', '-c', `${fugitive}; exec sleep 60`]);
  await second.nextOf(types.started);
  await expect.poll(() => descendants(other.child.pid ?? 0).length, { timeout: 10_000 }).toBe(4);
  tree.push(...descendants(other.child.pid ?? 0).map((it) => it.pid));
  await other.killed();
  await agent.stop();
  await expect.poll(() => tree.filter(isLiving)).toEqual([]);
  agent = await AgentUnderTest.start();
});

it('hears a signal for all of it', async () => {
  const stream = await startTree();
  client.send(encodeFrame(types.signal, stream, Buffer.concat([integer(tags.signal, 15), integer(tags.tree, 1)])));
  const { fields } = await client.finish(stream);
  expect([fields.number(tags.signal), sleepers()]).toEqual([15, 0]);
});

it('is left alone by the end of its session when detached, its output on the console', async () => {
  const stream = client.spawn(['sh', '-c', 'echo to the console; exec sleep 60'], integer(tags.detach, 1));
  expect((await client.nextOf(types.started)).stream).toBe(stream);
  await client.open();
  await expect.poll(() => agent.lines).toContain('to the console');
  expect(sleepers()).toBe(1);
  client.request(types.info);
  expect(new Fields((await client.nextOf(types.done)).payload).number(tags.processes)).toBe(1);
});

it('is told of the end of a detached process whose children live on', async () => {
  const outcome = await client.run(['sh', '-c', 'sleep 60 & exit 4'], integer(tags.detach, 1));
  expect(outcome.fields.number(tags.code)).toBe(4);
  await expect.poll(sleepers).toBe(1);
});

it('ends even when the process that watches over it is killed', async () => {
  const stream = await startTree();
  const watcher = descendants(agent.child.pid ?? 0).find((it) => it.name === 'polyvisor-tree');
  process.kill(watcher?.pid ?? 0, 'SIGKILL');
  const { fields } = await client.finish(stream);
  expect(fields.number(tags.signal)).toBe(9);
  await expect.poll(() => descendants(agent.child.pid ?? 0)).toEqual([]);
  expect((await client.run(['echo', 'next'])).stdout).toBe('next\n');
});

it('does not grow behind the back of its end', async () => {
  const forks = 'while :; do (setsid sleep 60 &); done';
  const stream = client.spawn(['sh', '-c', forks]);
  await client.nextOf(types.started);
  await expect.poll(sleepers, { timeout: 10_000 }).toBeGreaterThan(20);
  client.send(encodeFrame(types.cancel, stream));
  await client.finish(stream);
  expect(descendants(agent.child.pid ?? 0)).toEqual([]);
});
