import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CacheClient } from '../../../src/factory/cache-client.ts';
import { openCacheServer } from '../../../src/sandbox/serve-cache.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { bootId, isAlive } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';
import { startCacheServer, startTaker, until } from '../../fakes/child.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

const mock = { hypervisor: 'mock', memoryMiB: 64 } as const;
let folder: string;
let endpoint: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'c-'));
  endpoint = path.join(folder, 'cache.sock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const listed = async (): Promise<string[]> => (await Vm.list()).map(({ name, status }) => `${name} ${status}`);
const nothingIsLeft = (): Promise<void> => until('no VM is left', async () => (await listed()).length === 0);

it('answers as virtcontainers does, on a socket that is ours alone', async () => {
  await using server = await openCacheServer({ ...mock, endpoint, cache: 2 });
  await server.filled();
  expect(statSync(endpoint).mode & 0o777).toBe(0o600);
  const client = new CacheClient(endpoint);
  const { pid, vmstatus } = await client.status();
  expect(pid).toBe(process.pid);
  expect(vmstatus).toHaveLength(2);
  expect(vmstatus[0]).toMatchObject({ cpu: 1, memory: 64 });
  expect(isAlive({ pid: vmstatus[0]?.pid ?? 0, startTime: 0, bootId: bootId() })).toBe(false);
  const { Data, AgentConfig } = await client.config();
  expect(JSON.parse(Buffer.from(Data).toString())).toEqual(mock);
  expect(AgentConfig).toHaveLength(0);
  expect(await codeOf(openCacheServer({ ...mock, endpoint, cache: 1 }))).toBe('BUSY');
  await client.quit();
  await server.asked;
  await server.close();
  expect(existsSync(endpoint)).toBe(false);
  expect(await listed()).toEqual([]);
  expect(await codeOf(client.status())).toBe('NOT_FOUND');
});

it('a VM that is taken ends with who has taken it, not with the server', async () => {
  const server = startCacheServer(endpoint, 2);
  try {
    await server.phase('filled');
    const factory = await Vm.factory({ endpoint });
    expect(factory.kind).toBe('grpc-cache');
    const vm = await factory.getVm({ name: 'mine' });
    try {
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
      expect((await vm.agent.info()).reseeds).toBe(2);
      await until('it is this process’s alone', async () => {
        const { owner, heirs = [] } = await new VmStore().read('mine');
        return owner?.pid === process.pid && heirs.length === 0;
      });
      const taker = startTaker(endpoint, 'hold');
      const theirs = await taker.created();
      await until('it is the taker’s alone', async () => {
        const { owner, heirs = [] } = await new VmStore().read(theirs.name);
        return owner?.pid === taker.process.pid && heirs.length === 0;
      });
      await taker.kill();
      await until('the VM of a client that was killed is gone', async () => {
        return !(await listed()).some((line) => line.startsWith(theirs.name));
      });
      await server.kill();
      await until('those that stood ready are gone with the server', async () => {
        return (await listed()).join() === 'mine running';
      });
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    } finally {
      await vm.remove();
    }
    // The socket of the dead one is in nobody's way.
    expect(existsSync(endpoint)).toBe(true);
    await using next = await openCacheServer({ ...mock, endpoint, cache: 1 });
    await next.filled();
  } finally {
    await server.kill();
  }
  await nothingIsLeft();
}, 60_000);

it('a client that dies before it has taken up its VM loses none: it is removed', async () => {
  const server = startCacheServer(endpoint, 1);
  try {
    await server.phase('filled');
    const asking = startTaker(endpoint, 'ask');
    await asking.phase('asked');
    const before = (await Vm.list()).length;
    expect(before).toBeGreaterThanOrEqual(1);
    await asking.kill();
    // The one in its place is all that is there in the end.
    await until('it is removed', async () => (await Vm.list()).length === 1, 25_000);
    await new CacheClient(endpoint).quit();
    expect(await server.ended()).toBe(0);
  } finally {
    await server.kill();
  }
  await nothingIsLeft();
}, 60_000);

it('a server that is killed while clients ask loses no VM: each is taken, or gone', async () => {
  const server = startCacheServer(endpoint, 3);
  const factory = await Vm.factory({ endpoint });
  await server.phase('filled');
  const asked = Array.from({ length: 3 }, (_, at) => factory.getVm({ name: `taken-${at}` }));
  for (const one of asked) one.catch(() => undefined);
  await asked[0];
  await server.kill();
  const outcomes = await Promise.allSettled(asked);
  const taken = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  try {
    expect(taken.length).toBeGreaterThanOrEqual(1);
    const names = taken.map(({ name }) => `${name} running`).toSorted();
    await until('only what was taken is there', async () => (await listed()).toSorted().join() === names.join());
    for (const vm of taken) expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
  } finally {
    for (const vm of taken) await vm.remove();
  }
  await nothingIsLeft();
}, 60_000);

it('what can not be is told', async () => {
  for (const wrong of ['relative', `/${'x'.repeat(120)}`]) {
    expect(await codeOf(openCacheServer({ ...mock, endpoint: wrong, cache: 1 }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(Vm.factory({ endpoint: wrong }))).toBe('INVALID_ARGUMENT');
  }
  expect(await failure(Vm.factory({ endpoint, memoryMiB: 64 }))).toMatchObject({ facts: { field: 'memoryMiB' } });
  writeFileSync(endpoint, '');
  expect(await codeOf(openCacheServer({ ...mock, endpoint, cache: 1 }))).toBe('FILE_INVALID');
  rmSync(endpoint);
  expect(await codeOf(openCacheServer({ ...mock, template: 'none', endpoint, cache: 1 }))).toBe('NOT_FOUND');
  expect(existsSync(endpoint)).toBe(false);
  const factory = await Vm.factory({ endpoint });
  expect(await codeOf(factory.getVm())).toBe('NOT_FOUND');
  expect(await codeOf(factory.getVm({ signal: AbortSignal.abort() }))).toBe('ABORTED');
  await using server = await openCacheServer({
    ...mock,
    endpoint,
    cache: 1,
    hypervisorParams: [{ key: 'fail', value: 'pause' }],
  });
  // The server's own reason, over the wire.
  expect(await failure(factory.getVm())).toMatchObject({ code: 'VMM_FAILED' });
  expect(server.endpoint).toBe(endpoint);
  await nothingIsLeft();
});
