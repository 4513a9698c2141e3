import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExecOptions } from '../../src/guest/agent.ts';
import { planVm } from '../../src/sandbox/plan.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places, runtimeFolder } from '../../src/state/paths.ts';
import { commandLine, until } from '../fakes/child.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { smallGuest } from './guest.ts';

// One guest for all of them: what a test starts inside must be gone at its end, which the next one would see.
let vm: Vm;
const options = { ...smallGuest, name: 'shared', vcpus: 1, maxVcpus: 1 };

beforeAll(async () => {
  vm = await Vm.create(options);
});
afterAll(() => vm.remove());

const run = async (command: string | string[], more?: ExecOptions): Promise<string> =>
  (await vm.exec(command, more)).stdout;
const processes = async (text: string): Promise<number> =>
  (await run(['ps', '-o', 'args'])).split('\n').filter((line) => line.includes(text)).length;

it('QEMU was told what the plan says', async () => {
  const { plan } = await planVm(options);
  const { pid = 0, folders } = await vm.inspect();
  const planned = runtimeFolder(places(), '0'.repeat(12));
  // A generation id is made of the VM's own id.
  const noId = (word: string): string => word.replace(/("guid":)"[0-9a-f-]{36}"/, '$1"..."');
  expect(commandLine(pid).map(noId)).toEqual(
    [plan.binary, ...plan.argv].map((word) => noId(word.replaceAll(planned, folders.runtime))),
  );
});

describe('a command', () => {
  it('that is missing, or not to be executed', async () => {
    expect(await codeOf(vm.exec(['/no/such/program']))).toBe('GUEST_NOT_FOUND');
    expect(await codeOf(vm.exec(['no-such-program']))).toBe('GUEST_NOT_FOUND');
    expect(await codeOf(vm.exec(['/etc/polyvisor/modules']))).toBe('GUEST_NOT_EXECUTABLE');
    expect(await codeOf(vm.exec(['/etc']))).toBe('GUEST_NOT_EXECUTABLE');
    expect(await codeOf(vm.exec(['true'], { cwd: '/no/such/folder' }))).toMatch(/^(EXEC_FAILED|GUEST_NOT_FOUND)$/);
    expect(await codeOf(vm.exec(['true'], { user: 'nobody-of-that-name' }))).toBe('EXEC_FAILED');
  });

  it('tells its streams, its code and its signal apart', async () => {
    expect(await vm.exec('echo out; echo err >&2; exit 42')).toMatchObject({
      stdout: 'out\n',
      stderr: 'err\n',
      exitCode: 42,
    });
    const killed = await vm.exec('kill -TERM $$');
    expect(killed).toMatchObject({ exitCode: 143, signal: 'SIGTERM' });
    expect(await failure(vm.exec('echo why >&2; exit 3', { check: true }))).toMatchObject({
      code: 'NONZERO_EXIT',
      facts: { exitCode: 3, log: 'why' },
    });
  });

  it('gets its environment, folder and user, and nothing of ours', async () => {
    const env = (await run(['env'], { env: { COLOUR: 'bl ue', EMPTY: '' } })).split('\n');
    expect(env).toContain('COLOUR=bl ue');
    expect(env).toContain('EMPTY=');
    expect(env.join()).not.toContain('POLYVISOR');
    expect(await run(['pwd'], { cwd: '/usr/bin' })).toBe('/usr/bin\n');
    expect(await run(['id', '-u'])).toBe('0\n');
    expect(await run('id -u; id -g', { user: '1234:567' })).toBe('1234\n567\n');
    expect(await run(['sh', '-c', 'echo "$1"', 'sh', `a 'b' "c" $d \\`])).toBe(`a 'b' "c" $d \\\n`);
  });

  it('has a terminal when it is asked for, of the size that was asked for', async () => {
    expect(await run('stty size', { pty: { rows: 33, cols: 101 } })).toBe('33 101\r\n');
    expect(await run('test -t 0 && test -t 1 && echo yes || echo no')).toBe('no\n');
    const shell = vm.exec('while [ "$(stty size)" = "24 80" ]; do sleep 0.1; done; stty size', { pty: true });
    await shell.pid;
    shell.resize(50, 120);
    expect((await shell).stdout).toBe('50 120\r\n');
  });
});

describe('the end of a command', () => {
  it('cancel ends its whole tree, however far it has forked', async () => {
    const tree = vm.exec(`setsid sh -c '(sleep 4242 &) ; sleep 4242' & setsid setsid sleep 4242 & sleep 4242`);
    await tree.pid;
    await until('the tree is there', async () => (await processes('sleep 4242')) >= 4);
    await tree.cancel();
    expect(await processes('4242')).toBe(0);
    expect((await tree.exited).exitCode).not.toBe(0);
  });

  it('a time-out ends its whole tree too, and what it said is kept', async () => {
    const began = performance.now();
    const error = await failure(vm.exec('echo so far; (setsid sleep 4243 &); sleep 4243', { timeoutMs: 1500 }));
    expect(error.code).toBe('TIMEOUT');
    expect(error).toMatchObject({ result: { stdout: 'so far\n', timedOut: true } });
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(await processes('4243')).toBe(0);
  });

  it('an abort does the same', async () => {
    expect(await codeOf(vm.exec('(setsid sleep 4244 &); sleep 4244', { signal: AbortSignal.timeout(700) }))).toBe(
      'ABORTED',
    );
    expect(await processes('4244')).toBe(0);
  });

  it('leaving an iteration early ends it', async () => {
    for await (const { stream, data } of vm.exec('echo first; sleep 4245')) {
      expect([stream, data.toString()]).toEqual(['stdout', 'first\n']);
      break;
    }
    expect(await processes('4245')).toBe(0);
  });

  it('too much output ends it', async () => {
    expect(await codeOf(vm.exec(['yes'], { maxOutputBytes: 100_000 }))).toBe('OUTPUT_LIMIT');
    expect(await processes('yes')).toBe(0);
  });
});

describe('streams', () => {
  it('stdin flows as fast as the command reads, and not faster', async () => {
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const total = 24 * 2 ** 20;
    let given = 0;
    const source = async function* (): AsyncGenerator<Buffer> {
      for (; given < total; given += chunk.length) yield chunk;
    };
    await run('mkfifo /tmp/go');
    const counting = vm.exec('read go < /tmp/go; wc -c', { stdin: source() });
    await delay(1000);
    // What nobody reads stays with us, but for buffers on the way.
    expect(given).toBeLessThan(total / 2);
    await run('echo go > /tmp/go; rm /tmp/go');
    expect(Number((await counting).stdout)).toBe(total);
  });

  it('output that nobody takes stays in the guest, and comes whole when it is taken', async () => {
    const bytes = 24 * 2 ** 20;
    const talking = vm.exec(`head -c ${bytes} /dev/zero; touch /tmp/said`);
    const stream = talking.stdout;
    await talking.pid;
    await delay(1000);
    expect(await run('test -e /tmp/said && echo said || echo waiting')).toBe('waiting\n');
    let taken = 0;
    for await (const data of stream) taken += (data as Buffer).length;
    expect(taken).toBe(bytes);
    expect((await talking.exited).exitCode).toBe(0);
    await run('rm /tmp/said');
  });

  it('can be iterated in the order in which they came', async () => {
    const lines: string[] = [];
    for await (const { stream, data } of vm.exec('echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c'))
      lines.push(`${stream} ${data.toString()}`);
    expect(lines).toEqual(['stdout a\n', 'stderr b\n', 'stdout c\n']);
  });

  it('bytes arrive as they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const echoed = await vm.exec(['cat'], { stdin: bytes, encoding: 'buffer' });
    expect(echoed.stdoutBytes.equals(bytes)).toBe(true);
  });

  it('many at once do not mix', async () => {
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) => vm.exec(['sh', '-c', `echo ${n}; echo ${n} >&2; exit ${n}`])),
    );
    expect(answers.map(({ stdout, stderr, exitCode }) => [stdout, stderr, exitCode])).toEqual(
      Array.from({ length: 30 }, (_, n) => [`${n}\n`, `${n}\n`, n]),
    );
  });
});

it('the guest was given its name, the time and randomness', async () => {
  expect(await run(['hostname'])).toBe('shared\n');
  expect(Math.abs(Number(await run(['date', '+%s'])) - Date.now() / 1000)).toBeLessThan(5);
  expect((await vm.agent.info()).reseeds).toBeGreaterThan(0);
});
