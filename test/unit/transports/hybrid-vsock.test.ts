import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectHybridVsock } from '../../../src/transports/hybrid-vsock.ts';

let folder: string;
let socketPath: string;
let server: net.Server;
let serve: (socket: net.Socket) => void;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'vsock-'));
  socketPath = path.join(folder, 'vsock.sock');
  server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
});

afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (error: { code: string }) => error.code,
  );

describe('connectHybridVsock', () => {
  it('asks for the port, and gives every byte after the reply to the caller', async () => {
    serve = (socket) =>
      socket.once('data', (text) => {
        socket.write(`OK 1073741824\nasked: ${String(text)}`);
      });
    const stream = await connectHybridVsock(socketPath, 1024);
    const first = await new Promise((resolve) => stream.once('data', resolve));
    expect(String(first)).toBe('asked: CONNECT 1024\n');
    stream.destroy();
  });

  it('says when nobody in the guest listens', async () => {
    serve = (socket) => socket.once('data', () => socket.end());
    expect(await codeOf(connectHybridVsock(socketPath, 1024))).toBe('AGENT_GONE');
  });

  it.each(['NO\n', 'OK \n', 'x'.repeat(100)])('refuses %j for an answer', async (reply) => {
    serve = (socket) => socket.on('data', () => socket.write(reply));
    expect(await codeOf(connectHybridVsock(socketPath, 1024))).toBe('AGENT_PROTOCOL');
  });

  it('gives up in time', async () => {
    serve = (socket) => socket.resume();
    expect(await codeOf(connectHybridVsock(socketPath, 1024, { timeoutMs: 50 }))).toBe('TIMEOUT');
  });
});
