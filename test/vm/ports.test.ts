import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PublishedPort } from '../../src/sandbox/ports.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { processesNaming, until } from '../fakes/child.ts';
import { codeOf } from '../fakes/failure.ts';

const program = new URL('../../bin/polyvisor.js', import.meta.url).pathname;
const cli = async (...words: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [program, ...words])).stdout;

/** The answer of an HTTP server, or the errno of what went wrong. */
async function get(where: http.RequestOptions): Promise<string> {
  try {
    const [answer] = (await once(http.get({ agent: false, timeout: 10_000, ...where }), 'response')) as [
      http.IncomingMessage,
    ];
    return `${answer.statusCode} ${(await answer.toArray()).join('')}`;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

// A detached VM whose port the one process beside it serves; all tests here use it, and the last one ends it.
let vm: Vm;
let published: PublishedPort;
beforeAll(async () => {
  const options = ['--name', 'web', '--accel', 'tcg', '-m', '256M', '-q'];
  await cli('run', '-d', ...options, '-p', '80', '--', 'httpd', '-f', '-p', '127.0.0.1:80', '-h', '/etc');
  vm = await Vm.connect('web');
});
afterAll(async () => {
  const { pid = 0 } = await vm.inspect();
  process.kill(pid, 'SIGKILL');
  await until('the forwarder has gone with the VMM', () => !existsSync(`/proc/${published.pid}/cwd`));
  expect((await vm.inspect()).ports).toEqual([]);
  await vm.remove();
});

const run = async (command: string): Promise<string> => (await vm.exec(command)).stdout;

describe('a detached VM with a port', () => {
  it('has its server answer on the host, with no network device', async () => {
    [published] = JSON.parse(await cli('port', 'web', '--json')) as [PublishedPort];
    expect(published).toMatchObject({ hostAddress: '127.0.0.1', guest: 'tcp:127.0.0.1:80' });
    const port = published.hostPort;
    expect(await cli('port', 'web', '80')).toBe(`127.0.0.1:${port}\n`);
    await until('httpd answers', async () => (await get({ port, path: '/hostname' })).startsWith('200'));
    expect(await get({ port, path: '/hostname' })).toBe('200 polyvisor\n');
    expect((await run('ls /sys/class/net')).trim()).toBe('lo');
    const answers = await Promise.all(Array.from({ length: 40 }, () => get({ port, path: '/passwd' })));
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toContain('root:x:0:0');
  });

  it('has one process beside the VMM, which is listed', async () => {
    const { pids, pid } = await vm.inspect();
    expect(pids).toEqual([pid, published.pid]);
    expect([...processesNaming(vm.id).keys()].toSorted()).toEqual([...pids].toSorted());
  });
});

describe('a handle', () => {
  it('reaches the guest itself: TCP, unix sockets, and back from the guest', async () => {
    const stream = await vm.dial('tcp:localhost:80');
    stream.end('GET /hostname HTTP/1.0\r\n\r\n');
    expect((await stream.toArray()).join('')).toMatch(/^HTTP\/1\.[01] 200 [^]*polyvisor\n$/);
    expect(await codeOf(vm.dial('tcp:127.0.0.1:81'))).toBe('CONNECT_FAILED');
    expect(await codeOf(vm.dial('unix:/run/nothing.sock'))).toBe('CONNECT_FAILED');
    await using listener = await vm.agent.listen('tcp:127.0.0.1:0', (client) => {
      client.once('data', () => client.end('HTTP/1.0 200 OK\r\n\r\nfrom the host\n'));
    });
    expect(await run(`wget -qO- http://${listener.address.slice('tcp:'.length)}/`)).toBe('from the host\n');
  });

  it('forwards to a server that comes later, on a port and on a unix socket', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'ports-'));
    const socketPath = path.join(folder, 'web.sock');
    try {
      const byPort = await vm.forwardPort({ guestPort: 8000 });
      const bySocket = await vm.forwardPort({ hostPath: socketPath, guestPort: 8000 });
      expect(await get({ port: byPort.hostPort })).toMatch(/^ECONN(RESET|REFUSED)$/);
      const server = vm.exec(['httpd', '-f', '-p', '127.0.0.1:8000', '-h', '/etc']);
      await server.pid;
      await until('it answers', async () =>
        (await get({ port: byPort.hostPort, path: '/hostname' })).startsWith('200'),
      );
      expect(await get({ socketPath, path: '/hostname' })).toBe('200 polyvisor\n');
      expect(JSON.parse(await cli('port', 'web', '--json'))).toHaveLength(3);
      expect(await codeOf(vm.forwardPort({ hostPort: byPort.hostPort, guestPort: 1 }))).toBe('BUSY');
      await server.cancel();
      await byPort.close();
      await bySocket.close();
      expect(existsSync(socketPath)).toBe(false);
      await expect(once(net.connect(byPort.hostPort ?? 0, '127.0.0.1'), 'connect')).rejects.toThrow('ECONNREFUSED');
      expect(JSON.parse(await cli('port', 'web', '--json'))).toHaveLength(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('moves megabytes both ways', async () => {
    const bytes = 8 * 2 ** 20;
    const server = vm.exec(['nc', '-l', '-p', '7000', '-e', 'cat']);
    await server.pid;
    let stream = await vm.dial('tcp:127.0.0.1:7000').catch(() => undefined);
    await until(
      'nc listens',
      async () => (stream ??= await vm.dial('tcp:127.0.0.1:7000').catch(() => undefined)) !== undefined,
    );
    let got = 0;
    stream?.on('data', (data: Buffer) => (got += data.length));
    stream?.end(Buffer.alloc(bytes, 'x'));
    await server.exited;
    await until('all came back', () => got === bytes);
  });

  it('holds a command to its limits', async () => {
    const group = '/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)';
    const limited = await vm.exec(`cat ${group}/cpu.max ${group}/pids.max ${group}/memory.max`, {
      maxCpus: 0.25,
      maxPids: 20,
      maxMemoryMiB: 32,
    });
    expect(limited.stdout).toBe(`25000 100000\n20\n${32 * 2 ** 20}\n`);
    const forks = await vm.exec('for i in 1 2 3 4 5 6 7 8; do sleep 9 & done; true', { maxPids: 4 });
    expect(forks.stderr).toContain("can't fork");
    const eater = await vm.exec('head -c 20m /dev/zero | tail -c 16m >/dev/null', { maxMemoryMiB: 8 });
    expect(eater).toMatchObject({ oomKilled: true });
  });

  it('finds drivers loaded for what is there, and everything online', async () => {
    const { cpus, memoryBlocks, memoryBlockBytes } = await vm.agent.online();
    expect(cpus).toBe(1);
    expect(memoryBlocks * memoryBlockBytes).toBeGreaterThanOrEqual(256 * 2 ** 20);
    await vm.agent.rescan();
    // Nobody waits for a random number generator: it comes a little later than the rest.
    await until('virtio_rng is loaded', async () => (await run('lsmod')).includes('virtio_rng'));
  });
});
