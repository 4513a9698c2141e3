import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Vm } from '../../../src/sandbox/vm.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { hostileAgent } from '../../fakes/hostile-agent.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();
const mebibyte = 2 ** 20;

/** Uses a VM whose guest is hostile, and removes it; neither may take much time or memory. */
async function withHostile(mischief: string, use: (vm: Vm) => Promise<void>, growthMiB = 96): Promise<void> {
  const vm = await Vm.create({ hypervisor: 'mock', hypervisorPath: hostileAgent(at, mischief) });
  const before = process.memoryUsage().rss;
  try {
    await use(vm);
    expect((process.memoryUsage().rss - before) / mebibyte).toBeLessThan(growthMiB);
  } finally {
    const began = performance.now();
    await vm.remove();
    expect(performance.now() - began).toBeLessThan(5_000);
  }
}

const started = 'if (type === T.spawn) send(T.started, stream, fields([32, 42]));';

describe('a guest that breaks the protocol loses its session, with a typed error', () => {
  it.each([
    ['a frame longer than any may be', 'send(T.data, stream, Buffer.alloc(0), 0x7fffffff);'],
    ['bytes that are no frame', 'forever(() => raw(Buffer.alloc(65536, "x")));'],
    ['a frame of no known type', 'send(0xee, stream);'],
    ['fields that are cut short', 'send(T.started, stream, Buffer.from([32, 0, 0, 0, 255, 255, 255, 255]));'],
    ['output before the start', 'send(T.data, stream, data(1, "x"));'],
    ['an exit before the start', 'send(T.exit, stream, fields([35, 0]));'],
    ['two starts', `${started} ${started}`],
    ['output on a stream that nobody opened', `${started} send(T.data, stream + 100, data(1, "x"));`],
    ['output after the exit', `${started} send(T.exit, stream, fields([35, 0])); send(T.data, stream, data(1, "x"));`],
    ['two exits', `${started} send(T.exit, stream, fields([35, 0])); send(T.exit, stream, fields([35, 0]));`],
    [
      'credit without bounds',
      `${started} forever(() => send(T.credit, stream, Buffer.from([0, 255, 255, 255, 255])));`,
    ],
    ['connections that nobody listens for', 'send(T.accepted, 2, fields([82, stream], [81, "unix:"]));'],
    ['a PONG that was not asked for', 'send(T.pong, 0, Buffer.alloc(8));'],
  ])('%s', async (_, mischief) => {
    await withHostile(mischief, async (vm) => {
      const { agent } = vm;
      // What ends after its exit gives its result first: then the next request finds the session gone.
      const code = await codeOf(
        vm
          .exec(['x'], { stdin: 'pipe' })
          .then(() => agent.closed.then((error) => Promise.reject(error ?? new Error('open')))),
      );
      expect(code).toBe('AGENT_PROTOCOL');
      expect(await agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
      expect(await codeOf(vm.exec(['x']))).toBe('AGENT_PROTOCOL');
    });
  });

  it('more output than there is credit for, which nobody takes', async () => {
    await withHostile(`${started} forever(() => send(T.data, stream, data(1, Buffer.alloc(60000))));`, async (vm) => {
      const { stdout } = vm.exec(['x']);
      expect(await vm.agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
      expect(stdout.readableLength).toBeLessThanOrEqual(65_536);
    });
  });

  it.each([
    ['data beyond the credit', 'forever(() => send(T.data, stream, data(1, Buffer.alloc(60000))));'],
    ['data on a wrong channel', 'send(T.data, stream, data(2, "x"));'],
    ['a second start', 'send(T.started, stream);'],
  ])('a connection with %s', async (_, then) => {
    await withHostile(`if (type === T.dial) { send(T.started, stream); ${then} }`, async (vm) => {
      const stream = await vm.dial('tcp:127.0.0.1:80').catch(() => undefined);
      stream?.pause();
      expect(await vm.agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
      if (stream !== undefined && !stream.closed) await new Promise((resolve) => stream.once('close', resolve));
    });
  });

  it('connections without end', async () => {
    const flood = `let id = 0; forever(() => send(T.accepted, id += 2, fields([82, stream], [81, 'unix:'])));`;
    await withHostile(
      `if (type === T.listen) { send(T.started, stream, fields([81, 'tcp:1.2.3.4:5'])); ${flood} }`,
      async (vm) => {
        let count = 0;
        const listening = vm.agent.listen('tcp:127.0.0.1:0', () => (count += 1));
        await listening.catch(() => undefined);
        expect(await vm.agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
        expect(count).toBeLessThanOrEqual(512);
      },
    );
  });
});

describe('a guest that does too much or too little', () => {
  it('never answers: each call ends in its time, and the VM can be stopped', async () => {
    await withHostile('', async (vm) => {
      expect(await codeOf(vm.exec(['x'], { signal: AbortSignal.timeout(100) }))).toBe('ABORTED');
      expect(await codeOf(vm.agent.info({ timeoutMs: 100 }))).toBe('TIMEOUT');
      expect(await codeOf(vm.dial('tcp:127.0.0.1:80', { timeoutMs: 100 }))).toBe('TIMEOUT');
      expect(await codeOf(vm.agent.listen('tcp:127.0.0.1:0', () => {}, { timeoutMs: 100 }))).toBe('TIMEOUT');
      expect(await codeOf(vm.agent.online({ timeoutMs: 100 }))).toBe('TIMEOUT');
      await vm.stop({ graceMs: 200 });
      expect(await vm.inspect()).toMatchObject({ status: 'stopped' });
    });
  }, 20_000);

  it('never lets a command exit, one that writes without end included, nor a cancelled connection end', async () => {
    const endless = `const chunk = data(1, Buffer.alloc(60000)); for (let n = 0; n < 4; n++) send(T.data, stream, chunk);`;
    const mischief = `${started} if (payload.includes('yes')) { ${endless} } if (type === T.dial) send(T.started, stream);`;
    await withHostile(mischief, async (vm) => {
      const command = vm.exec(['x']);
      await command.pid;
      const codes = [codeOf(command.cancel()), codeOf(vm.exec(['yes'], { maxOutputBytes: 100_000 }))];
      expect(await Promise.all(codes)).toEqual(['AGENT_FAILED', 'OUTPUT_LIMIT']);
      for (let count = 0; count < 254; count += 1) (await vm.dial('tcp:127.0.0.1:80')).destroy();
      // Streams that it keeps open are counted: there is an end to them.
      expect(await codeOf(vm.dial('tcp:127.0.0.1:80'))).toBe('BUSY');
    });
  }, 20_000);

  it('floods us with events, and is still heard', async () => {
    const flood = `let left = 100000; const event = fields([7, 'log'], [6, 'x'.repeat(900)]);
      const go = () => { while (left > 0 && !socket.writableNeedDrain) { left--; send(T.event, 0, event); } if (left > 0) socket.once('drain', go); else send(T.exit, stream, fields([35, 7])); };`;
    await withHostile(`${started} if (type === T.spawn) { ${flood} go(); }`, async (vm) => {
      expect((await vm.exec(['x'])).exitCode).toBe(7);
    });
  }, 30_000);

  it('sends terminal escapes: none is in a message', async () => {
    const evil = String.raw`\x1b]0;owned\x07\x1b[2J\u202e`;
    await withHostile(`send(T.error, stream, fields([5, 13], [6, "${evil} no"]));`, async (vm) => {
      for (const call of [vm.exec(['x']), vm.agent.info(), vm.dial('tcp:127.0.0.1:80'), vm.agent.online()]) {
        const { message } = await failure(Promise.resolve(call));
        expect(message).toContain('no');
        expect(message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
      expect(vm.agent.version).not.toMatch(/\p{Cc}/u);
    });
  });

  it('reads nothing: what we send waits, and does not pile up', async () => {
    await withHostile(`${started} socket.pause();`, async (vm) => {
      const command = vm.exec(['x'], { stdin: 'pipe' });
      let given = 0;
      const chunk = Buffer.alloc(65_536);
      const give = (): void => {
        while (given < 256 * mebibyte && command.stdin?.write(chunk) === true) given += chunk.length;
      };
      command.stdin?.on('drain', give);
      give();
      await sleep(300);
      expect(given).toBeLessThan(16 * mebibyte);
    });
  });
});
