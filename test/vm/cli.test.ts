import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const program = new URL('../../bin/polyvisor.js', import.meta.url).pathname;

interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(...words: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [program, ...words], { env: { ...process.env, NO_COLOR: '1' } });
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: code as number | null, stdout, stderr };
}

/** Runs the program to its end, with nothing on stdin. */
function cli(...words: string[]): Promise<Ran> {
  const child = start(...words);
  child.stdin.end();
  return ended(child);
}

const mock = ['run', '-q', '--hypervisor', 'mock'];

describe('the command line itself', () => {
  it.each([
    [['--help'], /Life of a VM:\n +run/],
    [['run', '--help'], /Usage: polyvisor run[^]*Examples:\n {2}\$ polyvisor run/],
    [['help', 'exec'], /Usage: polyvisor exec/],
    [['image', 'build', '--help'], /Usage: polyvisor image build/],
    [['version', '--json'], /"polyvisor": "\d/],
  ])('%j is answered on stdout', async (words, expected) => {
    const { code, stdout, stderr } = await cli(...words);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(expected);
  });

  it.each(['run', 'exec', 'ls', 'stop', 'rm', 'logs', 'inspect', 'plan', 'doctor', 'image', 'prune', 'version'])(
    'the help of %s has an example',
    async (name) => {
      expect((await cli(name, '--help')).stdout).toMatch(new RegExp(`Examples?:\\n {2}\\$ polyvisor ${name}`));
    },
  );

  it.each([
    [[], 'Usage: polyvisor'],
    [['nope'], "unknown command 'nope'"],
    [['run'], 'no command was given'],
    [['run', '--nope', 'x'], "unknown option '--nope'"],
    [['run', '-m', '12x', 'true'], '"12x" is not a size'],
    [['run', '-d', '-it', 'sh'], 'cannot be used with option'],
    [['run', '--json', '-t', 'sh'], 'cannot be used with option'],
    [['exec', 'name-only'], "missing required argument 'command'"],
    [['ls', 'extra'], 'too many arguments'],
    [['logs', '--source', 'x', 'name'], 'Allowed choices are console, vmm'],
  ])('%j is wrong usage: exit code 2, said on stderr only', async (words, expected) => {
    const { code, stdout, stderr } = await cli(...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(expected);
  });

  it('tells an error with its code and advice, exits with 125, and is JSON on stdout when asked', async () => {
    const plain = await cli('run', '--hypervisor', 'nope', '--', 'true');
    expect(plain).toMatchObject({ code: 125, stdout: '' });
    expect(plain.stderr).toMatch(/^polyvisor: UNKNOWN_HYPERVISOR: Unknown hypervisor type nope.*\nadvice: /);
    const { code, stdout } = await cli('run', '--json', '--hypervisor', 'nope', '--', 'true');
    expect(code).toBe(125);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { code: 'UNKNOWN_HYPERVISOR', advice: expect.any(String) as string },
    });
  });

  it.each([
    ['exec', 'none', 'true'],
    ['stop', 'none'],
    ['rm', 'none'],
    ['logs', 'none'],
    ['inspect', 'none'],
  ])('%s of a VM that there is not says NOT_FOUND', async (...words) => {
    const { code, stdout, stderr } = await cli(...words);
    expect({ code, stdout }).toEqual({ code: 125, stdout: '' });
    expect(stderr).toContain('polyvisor: NOT_FOUND: ');
  });

  it('doctor and plan answer as data too', async () => {
    const report = JSON.parse((await cli('doctor', '--json')).stdout) as {
      hypervisors: { type: string; usable: boolean }[];
    };
    expect(report.hypervisors.map(({ type }) => type)).toEqual(['qemu', 'firecracker', 'clh', 'acrn', 'mock']);
    expect(report.hypervisors.at(-1)?.usable).toBe(true);
    const planned = JSON.parse((await cli('plan', '-q', '--hypervisor', 'mock', '--json')).stdout) as Record<
      string,
      unknown
    >;
    expect(planned).toMatchObject({
      hypervisor: 'mock',
      binary: expect.stringMatching(/^\//) as string,
      argv: expect.any(Array) as [],
    });
    expect((await cli('ls', '-a', '--json')).stdout).toBe('[]\n');
  });
});

describe('run', () => {
  it('keeps stdout and stderr apart and ends with the exit code of the command', async () => {
    const ran = await cli(...mock, '--', 'sh', '-c', 'echo out; echo err >&2; exit 7');
    expect(ran).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' });
  });

  it('says on stderr how far it is, and leaves stdout to the command', async () => {
    const { stdout, stderr } = await cli('run', '--hypervisor', 'mock', '--', 'echo', 'hi');
    expect(stdout).toBe('hi\n');
    expect(stderr).toMatch(/^polyvisor: starting mock\npolyvisor: ready after \d/);
  });

  it.each([
    ['no-such-program', 127, 'GUEST_NOT_FOUND'],
    ['/etc/passwd', 126, 'GUEST_NOT_EXECUTABLE'],
  ])('%s exits with %i', async (name, code, error) => {
    const ran = await cli(...mock, '--', name);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toContain(`polyvisor: ${error}: `);
  });

  it('tells a signal as 128+n', async () => {
    expect(await cli(...mock, '--', 'sh', '-c', 'kill -9 $$')).toMatchObject({ code: 137, stderr: '' });
  });

  it('ends command and VM when the time is over, and exits with 124', async () => {
    const ran = await cli(...mock, '--timeout', '2s', '--', 'sh', '-c', 'echo begun; sleep 600');
    expect(ran).toMatchObject({ code: 124, stdout: 'begun\n' });
    expect(ran.stderr).toMatch(/^polyvisor: TIMEOUT: /);
    expect((await cli('ls', '-aq')).stdout).toBe('');
  });

  it('sends stdin with -i only, however much it is', async () => {
    const bytes = Buffer.alloc(3_000_000, 'polyvisor');
    const child = start(...mock, '-i', '--', 'sha256sum');
    child.stdin.end(bytes);
    const { code, stdout } = await ended(child);
    expect({ code, sum: stdout.split(' ')[0] }).toEqual({
      code: 0,
      sum: createHash('sha256').update(bytes).digest('hex'),
    });
    const without = start(...mock, '--', 'cat');
    without.stdin.on('error', () => undefined).end('nobody reads this');
    expect(await ended(without)).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('ends while its stdin stays open', async () => {
    const child = start(...mock, '-i', '--', 'head', '-n', '1');
    child.stdin.on('error', () => undefined).write('one\ntwo\n');
    expect(await ended(child)).toMatchObject({ code: 0, stdout: 'one\n' });
  });

  it('gives the guest its variables and folder, and all words after the command', async () => {
    const ran = await cli(
      ...mock,
      '-e',
      'A=1 2',
      '-w',
      '/usr',
      '--',
      'sh',
      '-c',
      'echo "$A" "$PWD" "$@"',
      'sh',
      '-t',
      '--',
      '--json',
    );
    expect(ran).toEqual({ code: 0, stdout: '1 2 /usr -t -- --json\n', stderr: '' });
  });

  it('prints one JSON object with --json', async () => {
    const { code, stdout } = await cli(
      ...mock,
      '--json',
      '--name',
      'data',
      '--',
      'sh',
      '-c',
      'echo out; echo err >&2; exit 3',
    );
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toEqual({
      name: 'data',
      hypervisor: 'mock',
      exitCode: 3,
      timedOut: false,
      oomKilled: false,
      stdout: 'out\n',
      stderr: 'err\n',
      durationMs: expect.any(Number) as number,
    });
  });

  it('prints one JSON object for a time-out too, with what was written until then', async () => {
    const { code, stdout } = await cli(...mock, '--json', '--timeout', '2s', '--', 'sh', '-c', 'echo begun; sleep 600');
    expect(code).toBe(124);
    expect(JSON.parse(stdout)).toMatchObject({ stdout: 'begun\n', timedOut: true, error: { code: 'TIMEOUT' } });
  });

  it('ends quietly when nobody reads its output any more', async () => {
    const child = start(...mock, '--', 'yes');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
    expect({ stderr, code: code as number }).toEqual({ stderr: '', code: 141 });
    expect((await cli('ls', '-aq')).stdout).toBe('');
  });

  it('ends what goes on for ever when nobody reads it any more', async () => {
    await cli(...mock, '-d', '--name', 'endless');
    try {
      const stats = start('stats', 'endless', '--json', '--interval', '100ms');
      const events = start('events', '--since', '1h', '--json');
      // `stats` may end at its next line, before the other one has begun.
      const closed = Promise.all([once(stats, 'close'), once(events, 'close')]);
      for (const child of [stats, events]) {
        await once(child.stdout, 'data');
        child.stdout.destroy();
      }
      // It is noticed when something is to be written.
      await cli('rename', 'endless', 'ended');
      const ends = await closed;
      expect(ends.map(([code]) => code as number)).toEqual([141, 141]);
    } finally {
      await cli('rm', '-f', 'ended');
    }
  });

  it('says that its output cannot be written', async () => {
    const full = openSync('/dev/full', 'w');
    try {
      const child = spawn(process.execPath, [program, ...mock, '--', 'echo', 'hi'], {
        stdio: ['ignore', full, 'pipe'],
      });
      if (child.stderr === null) throw new Error('no stderr');
      const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
      expect(code).toBe(125);
      expect(stderr).toContain('polyvisor: IO: the output cannot be written: ENOSPC');
    } finally {
      closeSync(full);
    }
  });
});

describe('signals', () => {
  const trapping = 'trap "echo got; exit 5" TERM INT; echo up; while :; do sleep 0.05; done';
  const deaf = 'trap "" TERM INT; echo up; while :; do sleep 0.05; done';

  it.each(['SIGTERM', 'SIGINT'] as const)('%s goes to the command, whose exit code counts', async (signal) => {
    const child = start(...mock, '--', 'sh', '-c', trapping);
    child.stdout.once('data', () => child.kill(signal));
    expect(await ended(child)).toEqual({ code: 5, stdout: 'up\ngot\n', stderr: '' });
  });

  it('a second one ends the VM', async () => {
    const child = start(...mock, '--', 'sh', '-c', deaf.replace('echo up', 'trap "echo one" TERM; echo up'));
    // The second is sent when the command has seen the first.
    child.stdout.on('data', () => child.kill('SIGTERM'));
    expect(await ended(child)).toEqual({ code: 143, stdout: 'up\none\n', stderr: '' });
    expect((await cli('ls', '-aq')).stdout).toBe('');
  });

  it('SIGHUP ends the VM at once', async () => {
    const child = start(...mock, '--', 'sh', '-c', deaf);
    child.stdout.once('data', () => child.kill('SIGHUP'));
    expect(await ended(child)).toEqual({ code: 129, stdout: 'up\n', stderr: '' });
  });

  it('one that comes during the boot ends it', async () => {
    const child = start('run', '--hypervisor', 'qemu', '--', 'true');
    child.stderr.on('data', (words: Buffer) => words.includes('starting') && child.kill('SIGTERM'));
    expect(await ended(child)).toMatchObject({ code: 143, stdout: '' });
    expect((await cli('ls', '-aq')).stdout).toBe('');
  });
});

describe.each(['mock', 'qemu'])('a detached VM on %s', (hypervisor) => {
  const name = `cli-${hypervisor}`;
  let made: Ran;
  beforeAll(async () => {
    made = await cli(
      'run',
      '-d',
      '-q',
      '-m',
      '256M',
      '--hypervisor',
      hypervisor,
      '--name',
      name,
      '--',
      'sh',
      '-c',
      'echo up >&2; sleep 600',
    );
  });
  afterAll(() => cli('rm', '-f', name));

  it('is all that run -d prints', () => {
    expect(made).toEqual({ code: 0, stdout: `${name}\n`, stderr: '' });
  });

  it('is listed', async () => {
    expect((await cli('ps', '-q')).stdout).toBe(`${name}\n`);
    const [vm] = JSON.parse((await cli('list', '--json')).stdout) as unknown[];
    expect(vm).toMatchObject({ name, hypervisor, status: 'running', detached: true, memoryMiB: 256 });
    expect((await cli('ls')).stdout).toMatch(new RegExp(`^NAME .*\\n${name} +${hypervisor} .* running `));
  });

  it('is inspected', async () => {
    expect(JSON.parse((await cli('inspect', name)).stdout)).toMatchObject({
      name,
      status: 'running',
      config: { memoryMiB: 256 },
    });
  });

  it('runs commands, with all that run has', async () => {
    const ran = await cli('exec', '-e', 'A=1', name, 'sh', '-c', 'echo $A; echo err >&2; exit 9');
    expect(ran).toEqual({ code: 9, stdout: '1\n', stderr: 'err\n' });
    expect(await cli('exec', name, '--', 'no-such-program')).toMatchObject({ code: 127, stdout: '' });
    expect(await cli('exec', '--timeout', '1s', name, 'sleep', '600')).toMatchObject({ code: 124 });
    const { stdout } = await cli('exec', '--json', name, 'echo', 'hi');
    expect(JSON.parse(stdout)).toMatchObject({ name, exitCode: 0, stdout: 'hi\n' });
  });

  it('takes what is piped in', async () => {
    const child = start('exec', '-i', name, 'wc', '-c');
    child.stdin.end(Buffer.alloc(1_000_000));
    expect(await ended(child)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\s*1000000\n$/) as string });
  });

  it('runs a command on a terminal of the right size', async () => {
    const inner = `stty rows 33 cols 77; ${process.execPath} ${program} exec -it ${name} sh -c "tty; stty size; exit 4"; echo "code $?"; stty -a`;
    const child = spawn('script', ['-qec', inner, '/dev/null']);
    const { stdout } = await ended(child);
    const lines = stdout.split(/\r?\n/);
    expect(lines.slice(0, 3)).toEqual([expect.stringMatching(/^\/dev\/pts\//), '33 77', 'code 4']);
    expect(stdout).toMatch(/ icanon /);
  });

  it('has logs', async () => {
    const { code, stdout } = await cli('logs', '--tail', '5', name);
    expect(code).toBe(0);
    expect(stdout).toContain('polyvisor-agent: ready');
    expect((await cli('logs', '--source', 'vmm', name)).code).toBe(0);
  });

  it('is removed only by force while it runs, and its name is taken', async () => {
    expect(await cli('rm', name)).toMatchObject({
      code: 125,
      stdout: '',
      stderr: expect.stringContaining('INVALID_STATE') as string,
    });
    expect((await cli(...mock, '--name', name, '--', 'true')).stderr).toContain('polyvisor: NAME_IN_USE: ');
  });
});

it.each(['mock', 'qemu'])('stop ends a VM on %s, once and again; ls -a shows it until rm', async (hypervisor) => {
  const name = `stop-${hypervisor}`;
  await cli('run', '-d', '-q', '-m', '256M', '--hypervisor', hypervisor, '--name', name);
  for (let times = 0; times < 2; times++)
    expect(await cli('stop', name)).toEqual({ code: 0, stdout: `${name}\n`, stderr: '' });
  expect((await cli('ls', '-q')).stdout).toBe('');
  expect((await cli('ls', '-aq')).stdout).toBe(`${name}\n`);
  expect(await cli('exec', name, 'true')).toMatchObject({
    code: 125,
    stderr: expect.stringContaining('NOT_RUNNING') as string,
  });
  expect(await cli('rm', name)).toEqual({ code: 0, stdout: `${name}\n`, stderr: '' });
  expect((await cli('ls', '-aq')).stdout).toBe('');
});

it('runs a command in a real VM, and leaves none', async () => {
  const { code, stdout, stderr } = await cli('run', '--', 'sh', '-c', 'uname -a; exit 6');
  expect(code).toBe(6);
  expect(stdout).toMatch(/^Linux vm-[0-9a-f]+ /);
  expect(stdout).not.toContain(readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim());
  expect(stderr).toMatch(/polyvisor: starting qemu.*\npolyvisor: ready after /);
  expect((await cli('ls', '-aq')).stdout).toBe('');
});
