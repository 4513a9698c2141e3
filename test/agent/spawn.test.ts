import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AgentUnderTest } from './agent-under-test.ts';
import { descendants } from './processes.ts';
import type { RawClient } from './raw-client.ts';
import { buildSanitized } from './sanitized-build.ts';
import { encodeFrame, Fields, integer, tags, text, types } from './wire.ts';

const errno = { EPERM: 1, ENOENT: 2, EACCES: 13, ENOTDIR: 20, EINVAL: 22, EOPNOTSUPP: 95 };
const root = process.getuid?.() === 0;

// The first file to come here compiles.
beforeAll(() => buildSanitized(), 120_000);

let agent: AgentUnderTest;
let client: RawClient;
beforeEach(async () => {
  agent = await AgentUnderTest.start();
  client = await agent.session();
});
afterEach(() => agent.stop());

describe('a program', () => {
  it('runs with its arguments and tells its output apart', async () => {
    const { started, fields, stdout, stderr } = await client.run([
      'sh',
      '-c',
      'echo "$1"; echo b >&2; exit 7',
      '-',
      'a c',
    ]);
    expect(started).toBe(true);
    expect([fields.number(tags.code), fields.number(tags.signal), stdout, stderr]).toEqual([
      7,
      undefined,
      'a c\n',
      'b\n',
    ]);
  });

  it('gets the defaults, and what the host says instead', async () => {
    const { stdout } = await client.run(
      ['env'],
      text(tags.env, 'A=1'),
      text(tags.env, 'USER=me'),
      text(tags.env, 'A=2'),
    );
    const lines = stdout.trim().split('\n');
    expect(lines.toSorted()).toEqual([
      'A=2',
      expect.stringMatching(/^HOME=\//),
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'USER=me',
    ]);
  });

  it('is looked up in the PATH of its own environment', async () => {
    const bin = path.join(agent.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(path.join(bin, 'own'), '#!/bin/sh\necho mine\n', { mode: 0o755 });
    expect((await client.run(['own'])).fields.number(tags.errno)).toBe(errno.ENOENT);
    expect((await client.run(['own'], text(tags.env, `PATH=/nowhere:${bin}`))).stdout).toBe('mine\n');
  });

  it('works in the folder it is told, as itself and with nothing of the agent open', async () => {
    const { stdout } = await client.run(['sh', '-c', 'pwd; ls /proc/self/fd'], text(tags.cwd, agent.folder));
    expect(stdout).toBe(`${agent.folder}\n0\n1\n2\n3\n`);
  });

  it('starts with all signals at their defaults and none blocked', async () => {
    const { stdout } = await client.run(['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status']);
    expect(stdout).toBe('SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n');
  });
});

describe('what can not be started', () => {
  const cases: [string, string[], Buffer[], number, RegExp][] = [
    ['no such program', ['polyvisor-no-such'], [], errno.ENOENT, /^polyvisor-no-such: No such file/],
    ['no such path', ['/no/such'], [], errno.ENOENT, /^\/no\/such: /],
    ['a file that is no program', ['/etc/passwd'], [], errno.EACCES, /^\/etc\/passwd: Permission denied/],
    ['no such folder', ['true'], [text(tags.cwd, '/no/such')], errno.ENOENT, /working folder \/no\/such/],
    [
      'a folder that is a file',
      ['true'],
      [text(tags.cwd, '/etc/passwd')],
      errno.ENOTDIR,
      /working folder \/etc\/passwd/,
    ],
    ['an unknown user', ['true'], [text(tags.user, 'nobody-here')], errno.EINVAL, /nobody-here/],
    ['an unknown group', ['true'], [text(tags.user, '0:nobody-here')], errno.EINVAL, /nobody-here/],
    ['no program at all', [], [], errno.EINVAL, /no program/],
    ['an unknown field', ['true'], [text(90, 'x')], errno.EINVAL, /unknown field/],
    ['a field given twice', ['true'], [text(tags.cwd, '/'), text(tags.cwd, '/')], errno.EINVAL, /twice/],
    ['a NUL in an argument', ['a\0b'], [], errno.EINVAL, /NUL/],
    ['an env without a name', ['true'], [text(tags.env, '=x')], errno.EINVAL, /K=V/],
    ['a flag of 2', ['true'], [integer(tags.pty, 2)], errno.EINVAL, /range/],
    ['detach with a terminal', ['true'], [integer(tags.pty, 1), integer(tags.detach, 1)], errno.EINVAL, /detached/],
    ['limits without cgroups', ['true'], [integer(tags.maxPids, 5)], errno.EOPNOTSUPP, /cgroup/],
  ];
  it.each(cases)('%s', async (_name, argv, fields, number, message) => {
    const outcome = await client.run(argv, ...fields);
    expect([outcome.started, outcome.fields.number(tags.errno)]).toEqual([false, number]);
    expect(outcome.fields.string(tags.message)).toMatch(message);
    expect((await client.run(['echo', 'still here'])).stdout).toBe('still here\n');
  });

  it('counts an entry of PATH that may not be executed above one that is not there', async () => {
    writeFileSync(path.join(agent.folder, 'plain'), '', { mode: 0o644 });
    const outcome = await client.run(['plain'], text(tags.env, `PATH=${agent.folder}:/nowhere`));
    expect(outcome.fields.number(tags.errno)).toBe(errno.EACCES);
  });
});

// An ordinary user's agent can only stay what it is.
describe('a user', () => {
  const asked: [string, string][] = [
    ['nobody', '65534:65534:65534'],
    ['65534', '65534:65534:65534'],
    ['1234', '1234:1234:1234'],
    ['1234:4321', '1234:4321:4321'],
    ['nobody:daemon', '65534:1:1'],
  ];
  it.each(asked)('%s', async (user, ids) => {
    const outcome = await client.run(['sh', '-c', 'echo $(id -u):$(id -g):$(id -G)'], text(tags.user, user));
    if (root) expect(outcome.stdout).toBe(`${ids}\n`);
    else expect(outcome.fields.number(tags.errno)).toBe(errno.EPERM);
  });

  it('can open its own stdout anew', async () => {
    const own = `${process.getuid?.() ?? 0}`;
    const { stdout } = await client.run(
      ['sh', '-c', 'echo again > /dev/stdout'],
      text(tags.user, root ? 'nobody' : own),
    );
    expect(stdout).toBe('again\n');
  });
});

describe('stdin', () => {
  it('is empty unless asked for', async () => {
    expect((await client.run(['cat'])).stdout).toBe('');
  });

  it('comes in within credit, which comes back as it is taken', async () => {
    const stream = client.spawn(['sh', '-c', 'sleep 0.2; exec wc -c'], integer(tags.stdin, 1));
    const total = 1_000_000;
    let credit = 65_536;
    let sent = 0;
    let stdout = '';
    for (let over = false; !over;) {
      const amount = Math.min(credit, total - sent, 65_535);
      if (amount > 0) {
        client.data(stream, Buffer.alloc(amount, 'x'));
        sent += amount;
        credit -= amount;
        if (sent === total) client.data(stream, '');
        continue;
      }
      const { type, payload } = await client.next();
      if (type === types.credit) credit += payload.readUInt32LE(1);
      if (type === types.data) stdout += payload.subarray(1).toString();
      over = type === types.exit;
    }
    expect(stdout).toBe(`${total}\n`);
  });

  it('goes nowhere, but with credit back, when the program does not read', async () => {
    const stream = client.spawn(['sh', '-c', 'exec <&-; sleep 0.3'], integer(tags.stdin, 1));
    await client.nextOf(types.started);
    // The shell has closed its end before long; the pipe's own 64 KiB may have taken the first of these.
    for (let i = 0, credit = 65_536; i < 4; i++) {
      while (credit < 50_000) credit += (await client.nextOf(types.credit)).payload.readUInt32LE(1);
      client.data(stream, Buffer.alloc(50_000));
      credit -= 50_000;
    }
    expect(new Fields((await client.nextOf(types.exit)).payload).number(tags.code)).toBe(0);
  });

  it.each([
    ['beyond the credit', (it: number) => Array.from({ length: 3 }, () => dataFrame(it, 60_000))],
    ['after its end', (it: number) => [dataFrame(it, 0), dataFrame(it, 1)]],
    ['on a channel that takes none', (it: number) => [encodeFrame(types.data, it, Buffer.of(1, 65))]],
  ])('%s is a protocol error', async (_name, frames) => {
    const stream = client.spawn(['sleep', '60'], integer(tags.stdin, 1));
    client.send(...frames(stream));
    const { stream: on } = await client.nextOf(types.error);
    expect(on).toBe(0);
  });
});

function dataFrame(stream: number, length: number): Buffer {
  return encodeFrame(types.data, stream, Buffer.alloc(1 + length));
}

describe('output', () => {
  it('is complete however small the credit', async () => {
    const { stdout, fields } = await client.run(['seq', '20000'], integer(tags.credit, 1000));
    expect(stdout).toBe(Array.from({ length: 20_000 }, (_, i) => `${i + 1}\n`).join(''));
    expect(fields.number(tags.code)).toBe(0);
  });

  it('never goes beyond the credit, and its end needs none', async () => {
    const stream = client.spawn(['sh', '-c', 'printf 12345678'], integer(tags.credit, 8));
    const { stdout } = await client.finish(stream);
    expect(stdout).toBe('12345678');

    const slow = client.spawn(['sh', '-c', 'head -c 100000 /dev/zero; echo end >&2'], integer(tags.credit, 5000));
    let got = 0;
    for (;;) {
      const { type, payload } = await client.next();
      if (type === types.data && payload[0] === 1) got += payload.length - 1;
      if (type === types.data && payload[0] === 2 && payload.length > 1) break;
    }
    client.send(encodeFrame(types.ping, 0));
    await client.nextOf(types.pong);
    expect(got).toBe(5000);
    client.credit(slow, 1, 95_000);
    expect((await client.finish(slow)).stdout).toHaveLength(95_000);
  });

  it('carries megabytes while other streams go on', async () => {
    const big = client.spawn(['head', '-c', '8000000', '/dev/zero']);
    await client.nextOf(types.started);
    const small = client.spawn(['echo', 'x']);
    const exits: number[] = [];
    let got = 0;
    while (exits.length < 2) {
      const { type, stream, payload } = await client.next();
      if (type === types.exit) exits.push(stream);
      if (type === types.data && stream === big && payload.length > 1) {
        got += payload.length - 1;
        client.credit(big, 1, payload.length - 1);
      }
    }
    expect(exits.toSorted()).toEqual([big, small]);
    expect(got).toBe(8_000_000);
  });
});

describe('a terminal', () => {
  const size = [integer(tags.pty, 1), integer(tags.rows, 30), integer(tags.cols, 100)];

  it('is one, of the size asked for, with all output on channel 1', async () => {
    const { stdout, stderr } = await client.run(['sh', '-c', 'stty size; tty -s && echo tty >&2; echo $TERM'], ...size);
    expect([stdout, stderr]).toEqual(['30 100\r\ntty\r\nxterm\r\n', '']);
  });

  it('takes input, its end, and a new size', async () => {
    const stream = client.spawn(['sh', '-c', 'read x; stty size; echo "<$x>"; cat; echo end'], ...size);
    client.send(encodeFrame(types.resize, stream, Buffer.concat([integer(tags.rows, 40), integer(tags.cols, 120)])));
    client.data(stream, 'a\n');
    client.data(stream, 'b\n');
    client.data(stream, '');
    const { stdout, fields } = await client.finish(stream);
    expect(stdout.replaceAll('\r', '').split('\n')).toEqual(expect.arrayContaining(['40 120', '<a>', 'b', 'end']));
    expect(fields.number(tags.code)).toBe(0);
  });

  it('hands a signal to its foreground group', async () => {
    const stream = client.spawn(['sh', '-ic', 'sleep 60; echo "left by $?"'], ...size);
    await client.nextOf(types.started);
    // The shell's child is in front once it runs: its group is not the shell's.
    await expect.poll(() => foregroundIsSleep(agent.child.pid ?? 0), { timeout: 10_000 }).toBe(true);
    client.send(encodeFrame(types.signal, stream, integer(tags.signal, 15)));
    expect((await client.finish(stream)).stdout).toContain('left by 143');
  });
});

describe('the end', () => {
  it('by a signal is told as such', async () => {
    const stream = client.spawn(['sleep', '60']);
    await client.nextOf(types.started);
    client.send(encodeFrame(types.signal, stream, integer(tags.signal, 15)));
    const { fields } = await client.finish(stream);
    expect([fields.number(tags.signal), fields.number(tags.code)]).toEqual([15, undefined]);
  });

  it('comes after timeout-ms, and says so', async () => {
    const { fields } = await client.run(['sleep', '60'], integer(tags.timeoutMs, 100));
    expect([fields.number(tags.signal), fields.number(tags.timedOut)]).toEqual([9, 1]);
  });
});

function foregroundIsSleep(agentPid: number): boolean {
  return descendants(agentPid).some((it) => it.name === 'sleep' && it.group === it.foreground);
}
