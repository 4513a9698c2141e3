import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectUnix } from '../../../src/transports/unix-socket.ts';

let folder = '';
const servers: net.Server[] = [];
const file = (name = 'a.sock'): string => path.join(folder, name);

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-unix-'));
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  rmSync(folder, { recursive: true, force: true });
});

async function serve(at: string): Promise<void> {
  const server = net.createServer((socket) => socket.end('hello'));
  servers.push(server);
  await once(server.listen(at), 'listening');
}

async function hear(socket: net.Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

test('connects to a socket that is there, and hears its first words', async () => {
  await serve(file());
  expect(await hear(await connectUnix(file()))).toBe('hello');
});

test('waits for a socket that appears later', async () => {
  const connecting = connectUnix(file());
  setTimeout(() => void serve(file()), 50);
  expect(await hear(await connecting)).toBe('hello');
});

test('other files that appear first do not disturb it', async () => {
  const connecting = connectUnix(file());
  await serve(file('b.sock'));
  setTimeout(() => void serve(file('c.sock')).then(() => renameSync(file('c.sock'), file())), 20);
  expect(await hear(await connecting)).toBe('hello');
});

test('ends at the time limit and at the caller`s signal, and leaves nothing', async () => {
  await expect(connectUnix(file(), { timeoutMs: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' });
  const aborter = new AbortController();
  setTimeout(() => aborter.abort(), 20);
  await expect(connectUnix(file(), { signal: aborter.signal })).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(connectUnix(file(), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
});

test('tells a socket without a listener from a missing one', async () => {
  await serve(file());
  const [server] = servers.splice(0);
  // Closing removes the path it listened on: another name of the same socket stays, as after a kill.
  renameSync(file(), file('stale.sock'));
  await new Promise((resolve) => server?.close(resolve));
  await expect(connectUnix(file('stale.sock'))).rejects.toMatchObject({ code: 'VMM_GONE' });
  await expect(connectUnix(file(), { mustExist: true })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  await expect(connectUnix('/no/such/folder/a.sock')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
});

test('refuses a path that Node would cut', async () => {
  await expect(connectUnix(file('x'.repeat(108)))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});
