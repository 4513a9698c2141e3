import { describe, expect, test } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import { connectAgent } from '../../../../src/guest/native/agent.ts';
import { failure } from '../../../fakes/failure.ts';
import {
  FakeAgent,
  HELLO,
  T,
  connectFake,
  fieldBytes,
  frameBytes,
  intField,
  settled,
  textFields,
} from './fake-agent.ts';

const hello = frameBytes(T.hello, 0, fieldBytes(HELLO));

describe('a session is opened', () => {
  test('with preface and HELLO, without padding where a hang-up shows', async () => {
    const fake = new FakeAgent();
    const agent = await connectAgent(fake.host, { showsHangup: true });
    expect(fake.padding).toBe(0);
    expect(intField((await fake.next(T.hello)).payload, 1)).toBe(1);
    expect([...agent.features]).toContain('spawn');
    expect(agent.version).toBe('0.1.0');
    expect(agent.bootId).toBe('11111111-2222-3333-4444-555555555555');
    await agent.close();
    expect(await agent.closed).toBeUndefined();
  });

  test('with padding that completes any half-sent frame where a hang-up does not show', async () => {
    const { fake, agent } = await connectFake({ showsHangup: false });
    expect(fake.padding).toBe(65_548);
    await agent.close();
  });

  test('after dropping what a former client left, however it is cut', async () => {
    for (const size of [1, 7, 23, 24, 1000]) {
      const fake = new FakeAgent((preface) => {
        const bytes = Buffer.concat([
          Buffer.from('PVAGENT1 stale'),
          frameBytes(T.pong, 9),
          preface.subarray(0, 23),
          preface,
          hello,
        ]);
        for (let at = 0; at < bytes.length; at += size) fake.raw(bytes.subarray(at, at + size));
        return Buffer.alloc(0);
      });
      const agent = await connectAgent(fake.host, { showsHangup: true });
      await agent.close();
    }
  });
});

describe('a first sync', () => {
  const first = { sync: () => ({ hostname: 'clone' }) };

  test('is sent before the agent has said a word, and not before its time', async () => {
    const fake = new FakeAgent(() => Buffer.alloc(0));
    let begin!: () => void;
    const after = new Promise<void>((resolve) => (begin = resolve));
    const connecting = connectAgent(fake.host, { showsHangup: true, first: { ...first, after } });
    await fake.next(T.hello);
    await settled();
    expect(fake.unread).toEqual([]);
    begin();
    const { stream, payload } = await fake.next(T.sync);
    expect(textFields(payload, 51)).toEqual(['clone']);
    fake.raw(Buffer.concat([fake.preface, hello]));
    let open = false;
    void connecting.then(() => (open = true));
    await settled();
    expect(open).toBe(false);
    fake.send(T.done, stream);
    await (await connecting).close();
  });

  test('that is refused opens no session', async () => {
    const fake = new FakeAgent();
    const after = Promise.resolve();
    const error = failure(connectAgent(fake.host, { showsHangup: true, first: { ...first, after } }));
    await fake.next(T.hello);
    fake.fields(T.error, (await fake.next(T.sync)).stream, [
      [5, 1],
      [6, 'no'],
    ]);
    expect(await error).toMatchObject({ code: 'AGENT_FAILED', facts: { operation: 'sync', errno: 'EPERM' } });
    expect(fake.host.destroyed).toBe(true);
  });

  test('that has no time opens no session either, and is not sent', async () => {
    const fake = new FakeAgent();
    const after = Promise.reject(new VmError('START_FAILED', 'it did not start'));
    const error = await failure(connectAgent(fake.host, { showsHangup: true, first: { ...first, after } }));
    expect(error.code).toBe('START_FAILED');
    expect(fake.unread.map(({ type }) => type)).not.toContain(T.sync);
  });
});

describe('a session is not opened', () => {
  const refused = async (answer: (preface: Buffer) => Buffer, code: string): Promise<void> => {
    const fake = new FakeAgent(answer);
    await expect(connectAgent(fake.host, { showsHangup: true, timeoutMs: 5000 })).rejects.toMatchObject({ code });
    expect(fake.host.destroyed).toBe(true);
  };

  test('when the guest sends without end and no echo', async () => {
    const flood = Buffer.alloc(1024 * 1024, 0x41);
    const fake = new FakeAgent(() => Buffer.alloc(0));
    const connecting = connectAgent(fake.host, { showsHangup: true, timeoutMs: 5000 });
    connecting.catch(() => {});
    for (let i = 0; i < 18; i += 1) fake.raw(flood);
    await expect(connecting).rejects.toMatchObject({ code: 'AGENT_PROTOCOL' });
  });

  test('when the first frame is not HELLO', async () => {
    await refused((preface) => Buffer.concat([preface, frameBytes(T.pong, 0)]), 'AGENT_PROTOCOL');
    await refused((preface) => Buffer.concat([preface, frameBytes(T.credit, 1)]), 'AGENT_PROTOCOL');
    await refused((preface) => Buffer.concat([preface, Buffer.from('no frame')]), 'AGENT_PROTOCOL');
  });

  test('when the HELLO is of another version, or is not as specified', async () => {
    const variants: (readonly [number, string | number])[][] = [
      [
        [1, 2],
        [2, 'spawn'],
        [3, 'x'],
        [4, 'x'],
      ],
      [
        [1, 1],
        [3, 'x'],
        [4, 'x'],
      ],
      [
        [1, 1],
        [2, 'a'.repeat(4000)],
        [3, 'x'],
        [4, 'x'],
      ],
      [
        [1, 1],
        [2, 'spawn\u001b[2J'],
        [3, 'x'],
        [4, 'x'],
      ],
      [
        [1, 1],
        [1, 1],
        [2, 'spawn'],
        [3, 'x'],
        [4, 'x'],
      ],
      [
        [1, 1],
        [2, 'spawn'],
        [3, 'x\0y'],
        [4, 'x'],
      ],
    ];
    for (const list of variants) {
      await refused((preface) => Buffer.concat([preface, frameBytes(T.hello, 0, fieldBytes(list))]), 'AGENT_PROTOCOL');
    }
  });

  test('when the agent answers with ERROR', async () => {
    const error = frameBytes(
      T.error,
      0,
      fieldBytes([
        [5, 93],
        [6, 'this agent speaks\u001b[31m version 3'],
      ]),
    );
    const fake = new FakeAgent((preface) => Buffer.concat([preface, error]));
    await expect(connectAgent(fake.host, { showsHangup: true })).rejects.toMatchObject({
      code: 'AGENT_FAILED',
      message: expect.stringContaining('this agent speaks [31m version 3'),
    });
  });

  test('when the guest says nothing in time', async () => {
    const fake = new FakeAgent(() => Buffer.alloc(0));
    await expect(connectAgent(fake.host, { showsHangup: true, timeoutMs: 20 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    });
    expect(fake.host.destroyed).toBe(true);
  });

  test('when the caller aborts, before or during it', async () => {
    const fake = new FakeAgent(() => Buffer.alloc(0));
    const controller = new AbortController();
    const connecting = connectAgent(fake.host, { showsHangup: true, signal: controller.signal });
    await settled();
    controller.abort(new Error('enough'));
    await expect(connecting).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    expect(fake.host.destroyed).toBe(true);
    const late = new FakeAgent();
    await expect(connectAgent(late.host, { showsHangup: true, signal: controller.signal })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    expect(late.host.destroyed).toBe(true);
  });

  test('when the channel closes, fails, or was closed before', async () => {
    const fake = new FakeAgent(() => Buffer.alloc(0));
    const connecting = connectAgent(fake.host, { showsHangup: true });
    fake.guest.end();
    await expect(connecting).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await expect(connectAgent(fake.host, { showsHangup: true })).rejects.toMatchObject({ code: 'AGENT_GONE' });
    const broken = new FakeAgent(() => Buffer.alloc(0));
    const failing = connectAgent(broken.host, { showsHangup: true });
    broken.host.destroy(new Error('ECONNRESET'));
    await expect(failing).rejects.toMatchObject({ code: 'AGENT_GONE', cause: { message: 'ECONNRESET' } });
  });

  test('with a time that is none', async () => {
    const fake = new FakeAgent();
    await expect(connectAgent(fake.host, { showsHangup: true, timeoutMs: 0 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(fake.host.destroyed).toBe(true);
  });
});
