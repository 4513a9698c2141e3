import { once } from 'node:events';
import { lstatSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { giveSocketToVmm } from '../../../src/hypervisors/give-to-vmm.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-give-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a socket is closed to others', async () => {
  const socket = path.join(folder, 'socket');
  const server = net.createServer().listen(socket);
  await once(server, 'listening');
  giveSocketToVmm(socket);
  expect(lstatSync(socket).mode & 0o777).toBe(0o600);
  server.close();
  await once(server, 'close');
});

test('a link in its place leads to no other file', () => {
  const [precious, link] = [path.join(folder, 'precious'), path.join(folder, 'socket')];
  writeFileSync(precious, '', { mode: 0o644 });
  symlinkSync(precious, link);
  try {
    giveSocketToVmm(link);
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toMatch(/EOPNOTSUPP|ENOTSUP/);
  }
  expect(statSync(precious).mode & 0o777).toBe(0o644);
});
