import { duplexPair, type Duplex } from 'node:stream';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { connectQmp, type QmpClient } from '../../../../src/transports/qmp/client.ts';
import type { QmpEvent } from '../../../../src/transports/qmp/messages.ts';

const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n';

interface Command {
  execute: string;
  arguments?: Record<string, unknown>;
  id: string;
}

/** The VMM's side: greets, agrees to the handshake, and hands every later command to `answer`. */
function fakeVmm(answer: (command: Command, vmm: Duplex) => void, before = greeting): Duplex {
  const [ours, theirs] = duplexPair();
  theirs.on('error', () => undefined);
  theirs.write(before);
  createInterface({ input: theirs }).on('line', (line) => {
    const command = JSON.parse(line) as Command;
    if (command.execute === 'qmp_capabilities') theirs.write(reply(command, {}));
    else answer(command, theirs);
  });
  return ours;
}

const reply = (command: Command, value: unknown): string => `${JSON.stringify({ return: value, id: command.id })}\r\n`;
const event = (name: string): string =>
  `{"event": "${name}", "data": {"n": 1}, "timestamp": {"seconds": 1, "microseconds": 2}}\r\n`;

const clients: QmpClient[] = [];
async function connect(...args: Parameters<typeof connectQmp>): Promise<QmpClient> {
  const client = await connectQmp(...args);
  clients.push(client);
  return client;
}
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});

describe('a session', () => {
  test('greets, negotiates and executes', async () => {
    const client = await connect(fakeVmm((command, vmm) => vmm.write(reply(command, { got: command.arguments }))));
    expect((await client.greeted).version.qemu).toEqual({ major: 7, minor: 2, micro: 0 });
    expect(await client.execute('device_add', { driver: 'x' })).toEqual({ got: { driver: 'x' } });
  });

  test('events are heard from the first byte on', async () => {
    const heard: string[] = [];
    const vmm = fakeVmm(
      (command, stream) => stream.write(event('STOP') + reply(command, {}) + event('RESUME')),
      event('EARLY') + greeting,
    );
    const client = await connect(vmm, { onEvent: ({ event: name }) => heard.push(name) });
    const resumed = client.nextEvent((it) => it.event === 'RESUME');
    await client.execute('stop');
    expect(await resumed).toEqual({ event: 'RESUME', data: { n: 1 }, timestamp: { seconds: 1, microseconds: 2 } });
    expect(heard).toEqual(['EARLY', 'STOP', 'RESUME']);
  });

  test('a refusal rejects with the VMM`s words, and only that command', async () => {
    const client = await connect(
      fakeVmm((command, vmm) => {
        const error = { class: 'DeviceNotFound', desc: "Device '\u001b[31mx' not found" };
        vmm.write(command.execute === 'bad' ? `${JSON.stringify({ error, id: command.id })}\n` : reply(command, 1));
      }),
    );
    const refused = expect(client.execute('bad')).rejects.toMatchObject({
      code: 'VMM_FAILED',
      rawMessage: "bad: Device 'x' not found",
      facts: { operation: 'bad' },
      cause: { class: 'DeviceNotFound' },
    });
    expect(await client.execute('good')).toBe(1);
    await refused;
  });

  test('an answer that comes too late is dropped', async () => {
    let late: (() => void) | undefined;
    const client = await connect(
      fakeVmm((command, vmm) => {
        if (command.execute === 'slow') late = () => vmm.write(reply(command, 'late'));
        else vmm.write(reply(command, 'in time'));
      }),
    );
    await expect(client.execute('slow', undefined, { timeoutMs: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    const aborter = new AbortController();
    const aborted = client.execute('slow', undefined, { signal: aborter.signal });
    aborter.abort();
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
    late?.();
    expect(await client.execute('quick')).toBe('in time');
  });

  test('what was asked when the VMM goes rejects with VMM_GONE, and so does what is asked after', async () => {
    const client = await connect(fakeVmm((command, vmm) => command.execute === 'quit' && vmm.end()));
    const closed = vi.fn<(reason: Error) => void>();
    client.events.once('close', closed);
    const waiting = [client.execute('one'), client.nextEvent(() => true), client.execute('quit')];
    for (const it of await Promise.allSettled(waiting)) expect(it).toMatchObject({ reason: { code: 'VMM_GONE' } });
    await expect(client.execute('two')).rejects.toMatchObject({ code: 'VMM_GONE', facts: { operation: 'two' } });
    await expect(client.nextEvent(() => true)).rejects.toMatchObject({ code: 'VMM_GONE' });
    expect(closed).toHaveBeenCalledOnce();
  });

  test('closing rejects what is under way', async () => {
    const client = await connect(fakeVmm(() => undefined));
    const waiting = expect(client.execute('one')).rejects.toMatchObject({ code: 'VMM_GONE' });
    await client.close();
    await client.close();
    await waiting;
  });
});

describe('a VMM that does not keep to the protocol', () => {
  test.each([
    ['nothing', '', 'TIMEOUT'],
    ['events only', event('A').repeat(3), 'TIMEOUT'],
    // The answer to our first command, which does not wait for the greeting, comes in its midst.
    ['a greeting that never ends', greeting.slice(0, -2), 'VMM_FAILED'],
  ])('%s: the handshake is bounded', async (_, before, code) => {
    await expect(
      connectQmp(
        fakeVmm(() => undefined, before),
        { timeoutMs: 30 },
      ),
    ).rejects.toMatchObject({ code });
  });

  test.each([
    ['no JSON', 'HTTP/1.1 400 Bad Request\r\n'],
    ['broken JSON', '{"QMP": \n'],
    ['a list', '[1]\n'],
    ['a number', '1\n'],
    ['another object', '{"hello": 1}\n'],
    ['a greeting without a version', '{"QMP": {"capabilities": []}}\n'],
  ])('%s: refused', async (_, before) => {
    await expect(connectQmp(fakeVmm(() => undefined, before))).rejects.toMatchObject({ code: 'VMM_FAILED' });
  });

  test('a message beyond 16 MiB ends the session', async () => {
    const client = await connect(fakeVmm((_, vmm) => vmm.write(Buffer.alloc(17 * 2 ** 20, 'x'))));
    await expect(client.execute('flood')).rejects.toMatchObject({ code: 'VMM_FAILED' });
    await expect(client.execute('again')).rejects.toMatchObject({ code: 'VMM_FAILED' });
  });

  test('a stream that is closed already', async () => {
    const [ours] = duplexPair();
    ours.destroy();
    await expect(connectQmp(ours)).rejects.toMatchObject({ code: 'VMM_GONE' });
  });
});

describe('whatever the order and the cutting', () => {
  test('each command gets its own answer, and every event is heard once, in order', async () => {
    const script = fc.record({
      order: fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 }),
      failing: fc.subarray([0, 1, 2, 3, 4]),
      eventsBefore: fc.array(fc.nat(2), { minLength: 5, maxLength: 5 }),
      cuts: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(script, async ({ order, failing, eventsBefore, cuts }) => {
        const commands: Command[] = [];
        let sent = 0;
        const vmm = fakeVmm((command, stream) => {
          commands.push(command);
          if (commands.length < 5) return;
          const text = order.map((n, at) => {
            const events = Array.from({ length: eventsBefore[at] ?? 0 }, () => event(`E${sent++}`)).join('');
            const failed = `${JSON.stringify({ id: commands[n]?.id, error: { class: 'C', desc: `no ${n}` } })}\n`;
            return events + (failing.includes(n) ? failed : reply(commands[n] as Command, n));
          });
          let rest = Buffer.from(`{"return": "foreign", "id": "other-1"}\n${text.join('')}`);
          for (let i = 0; rest.length > 0; i++) {
            const size = cuts[i % cuts.length] ?? 1;
            stream.write(rest.subarray(0, size));
            rest = rest.subarray(size);
          }
        });
        const heard: QmpEvent[] = [];
        const client = await connectQmp(vmm, { onEvent: (it) => heard.push(it) });
        const results = await Promise.allSettled([0, 1, 2, 3, 4].map((n) => client.execute(`c${n}`)));
        results.forEach((result, n) => {
          if (failing.includes(n)) expect(result).toMatchObject({ reason: { rawMessage: `c${n}: no ${n}` } });
          else expect(result).toEqual({ status: 'fulfilled', value: n });
        });
        await client.close();
        expect(heard.map((it) => it.event)).toEqual(Array.from({ length: sent }, (_, n) => `E${n}`));
      }),
      { numRuns: 60 },
    );
  });

  test('noise never crashes: every command settles with a typed error or an answer', async () => {
    const word = fc.oneof(
      fc.json().map((text) => `${text}\n`),
      fc.constantFrom(
        greeting,
        event('X'),
        '{"return": 1}\n',
        '{"error": {}}\n',
        '{"error": 5, "id": []}\n',
        '\n',
        '\r\n',
        '\u0000\n',
      ),
      fc.string(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word), async (words) => {
        const vmm = fakeVmm((command, stream) => {
          if (command.execute !== 'a') return;
          for (const it of words) stream.write(it);
          stream.end();
        });
        const client = await connectQmp(vmm);
        const [first, second] = await Promise.allSettled([client.execute('a'), client.execute('b')]);
        for (const it of [first, second]) {
          expect(it).toMatchObject({
            status: 'rejected',
            reason: { code: expect.stringMatching(/^VMM_(GONE|FAILED)$/) },
          });
        }
        await client.close();
      }),
      { numRuns: 60 },
    );
  });
});
