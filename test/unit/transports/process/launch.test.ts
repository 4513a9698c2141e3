import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import { isAlive } from '../../../../src/state/process-identity.ts';
import { readExit } from '../../../../src/transports/process/exit-status.ts';
import { launch } from '../../../../src/transports/process/launch.ts';
import { pidsNaming, shells, until, workspace } from './workspace.ts';

const at = workspace();

test('waiting again and again for a program that has ended leaves no listener behind', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  try {
    const launched = await launch(at.options(['true']));
    for (let wait = 0; wait < 12; wait++) expect(await launched.waitExit()).toEqual({ code: 0 });
    // Node tells of it a tick later.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('warning', onWarning);
  }
  expect(warnings).toEqual([]);
});

describe.each(Object.entries(shells))('under %s', (_, shell) => {
  test('the exit code is told, and written down', async () => {
    const launched = await launch(at.options(['/bin/sh', '-c', 'exit 7'], { shell }));
    expect(await launched.waitExit()).toEqual({ code: 7 });
    expect(at.read('exit')).toBe('code 7\n');
    expect(await readExit(at.file('exit'))).toEqual({ code: 7 });
    expect(statSync(at.file('exit')).mode & 0o777).toBe(0o600);
  });

  test('a signal is told, and written down', async () => {
    const launched = await launch(at.options(['sleep', '100'], { shell }));
    expect(isAlive(launched.identity)).toBe(true);
    await until('sh is over', () => readFileSync(`/proc/${launched.pid}/comm`, 'utf8') === 'sleep\n');
    expect(launched.kill('SIGTERM')).toBe(true);
    expect(await launched.exited).toEqual({ signal: 'SIGTERM' });
    expect(at.read('exit')).toBe('signal 15\n');
    expect(isAlive(launched.identity)).toBe(false);
    expect(launched.kill()).toBe(false);
  });

  test('a detached program has no process beside it', async () => {
    const launched = await launch(at.options(['sleep', '100'], { shell, prune: ['touch', at.file('pruned')] }));
    await launched.detach();
    await launched.detach();
    expect(isAlive(launched.identity)).toBe(true);
    expect(isAlive(launched.keeper ?? launched.identity)).toBe(false);
    // The reader of the lease closes its files a moment before it is gone.
    await until('it is alone', () => processesOfSession(launched.keeper?.pid).every((pid) => pid === launched.pid));
    expect(processesOfSession(launched.keeper?.pid)).toEqual([launched.pid]);
    expect(readdirSync(at.folder)).not.toContain('pruned');
    process.kill(launched.pid, 'SIGKILL');
    await until('the program has ended', () => !isAlive(launched.identity));
  });

  test('without an owner the program ends and the prune command runs, its words as they are', async () => {
    const prune = ['/bin/sh', '-c', 'printf "%s|" "$@" >"$0"', at.file('pruned'), 'a b', '$HOME', "'", '*', ''];
    const launched = await launch(at.options(['sleep', '100'], { shell, prune }));
    await launched.release();
    expect(await launched.waitExit()).toEqual({ signal: 'SIGKILL', by: 'lease' });
    expect(at.read('pruned')).toBe("a b|$HOME|'|*||");
    expect(at.read('exit')).toBe('signal 9 by lease\n');
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s to the keeper ends the program, without pruning',
    async (signal) => {
      const launched = await launch(at.options(['sleep', '100'], { shell, prune: ['touch', at.file('pruned')] }));
      process.kill(launched.keeper?.pid ?? 0, signal);
      expect(await launched.waitExit()).toEqual({ signal: 'SIGKILL', by: 'end' });
      expect(readdirSync(at.folder)).not.toContain('pruned');
    },
  );

  test('ending it at any moment of its start leaves nothing', async () => {
    for (let round = 0; round < 20; round++) {
      const aborter = new AbortController();
      const launching = launch(at.options(['sleep', '100'], { shell, signal: aborter.signal }));
      setTimeout(() => aborter.abort(), round);
      const outcome = await launching.then(
        (launched) => launched.end(),
        (error: Error) => error.message,
      );
      if (typeof outcome === 'string') expect(outcome).toMatch(/^ABORTED: /);
    }
  });

  test('the program starts when what it needs has been made', async () => {
    const script = `cat ${at.file('needed')}`;
    const meanwhile = (): void => writeFileSync(at.file('needed'), 'made\n');
    const launched = await launch({ ...at.options(['/bin/sh', '-c', script], { shell }), meanwhile });
    expect(await launched.waitExit()).toEqual({ code: 0 });
    expect(at.read('log')).toBe('made\n');
  });

  test('what it needs can not be made: it is not started, and no process is left', async () => {
    const meanwhile = (): void => {
      throw new VmError('IO', 'no room');
    };
    const options = at.options(['touch', at.file('started')], { shell, prune: ['touch', at.file('pruned')] });
    await expect(launch({ ...options, meanwhile })).rejects.toMatchObject({ code: 'IO', rawMessage: 'no room' });
    await until('no process is left', () => pidsNaming(at.folder).length === 0);
    expect(readdirSync(at.folder)).not.toContain('started');
    expect(readdirSync(at.folder)).not.toContain('pruned');
  });

  test('a keeper that is killed takes the program with it', async () => {
    const launched = await launch(at.options(['sleep', '100'], { shell }));
    process.kill(launched.keeper?.pid ?? 0, 'SIGKILL');
    expect(await launched.waitExit()).toEqual({ signal: 'SIGKILL', by: 'keeper-lost' });
    await until('the program has ended', () => !isAlive(launched.identity));
  });
});

test('the program gets its words, environment and folder exactly', async () => {
  mkdirSync(at.file('x=y'));
  writeFileSync(at.file('x=y/show'), '#!/bin/sh\nprintf "%s|" "$@"; echo; env | grep -v "^_="; pwd\n', { mode: 0o755 });
  const argv = [at.file('x=y/show'), 'a b', '', '$(id)', '*', '-n', '"'];
  const launched = await launch(at.options(argv, { env: { ONE: 'a b', TWO: '$ONE' }, cwd: at.folder }));
  await launched.waitExit();
  const [words, ...rest] = at.read('log').trim().split('\n');
  expect(words).toBe('a b||$(id)|*|-n|"|');
  expect(rest.toSorted()).toEqual([at.folder, 'ONE=a b', `PWD=${at.folder}`, 'TWO=$ONE'].toSorted());
});

test('the program gets no descriptor but its three and alive, and default signals but for two', async () => {
  const other = openSync('/etc/passwd', 'r');
  const launched = await launch(at.options(['sleep', '100'], { stderr: at.file('errors') }));
  await until('env and sh are over', () => readFileSync(`/proc/${launched.pid}/comm`, 'utf8') === 'sleep\n');
  const [stdin, stdout, stderr] = [0, 1, 2].map((fd) => statSync(`/proc/${launched.pid}/fd/${fd}`).ino);
  expect(stdin).toBe(statSync('/dev/null').ino);
  expect(stdout).toBe(statSync(at.file('log')).ino);
  expect(stderr).toBe(statSync(at.file('errors')).ino);
  const inherited = inheritable();
  expect(readdirSync(`/proc/${launched.pid}/fd`).filter((fd) => !inherited.has(fd))).toEqual(['0', '1', '2', '6']);
  expect(statSync(`/proc/${launched.pid}/fd/6`).ino).toBe(statSync(at.file('alive')).ino);
  const status = readFileSync(`/proc/${launched.pid}/status`, 'utf8');
  // SIGINT (2) and SIGQUIT (3)
  expect(/^SigIgn:\s*(\w+)$/m.exec(status)?.[1]).toBe('0000000000000006');
  expect(/^SigBlk:\s*(\w+)$/m.exec(status)?.[1]).toBe('0000000000000000');
  await launched.end();
  closeSync(other);
});

test('the log is appended to, and holds nothing but what the program wrote', async () => {
  for (const word of ['one', 'two']) {
    const launched = await launch(at.options(['/bin/sh', '-c', `echo ${word}; kill -KILL $$`]));
    await launched.waitExit();
  }
  expect(at.read('log')).toBe('one\ntwo\n');
  expect(statSync(at.file('log')).mode & 0o777).toBe(0o600);
});

test('a link in place of the log is not followed', async () => {
  writeFileSync(at.file('precious'), '');
  symlinkSync(at.file('precious'), at.file('log'));
  await expect(launch(at.options(['true']))).rejects.toMatchObject({ code: 'IO', facts: { errno: 'ELOOP' } });
});

test('programs that cannot be started are refused', async () => {
  writeFileSync(at.file('plain'), '');
  chmodSync(at.file('plain'), 0o644);
  const missing = { code: 'HYPERVISOR_NOT_FOUND', facts: { exitCode: 127 } };
  const refused = { code: 'START_FAILED', facts: { exitCode: 126 } };
  await expect(launch(at.options(['no-such-program-here']))).rejects.toMatchObject(missing);
  await expect(launch(at.options([at.file('nothing')]))).rejects.toMatchObject(missing);
  await expect(launch(at.options([]))).rejects.toMatchObject(missing);
  await expect(launch(at.options([at.folder]))).rejects.toMatchObject(refused);
  await expect(launch(at.options([at.file('plain')]))).rejects.toMatchObject(refused);
  await expect(launch(at.options(['true'], { cwd: at.file('nowhere') }))).rejects.toMatchObject({
    code: 'START_FAILED',
  });
  await expect(launch(at.options(['true', 'a\0b']))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(launch(at.options(['true'], { env: { '-u': 'x' } }))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(launch(at.options(['true'], { signal: AbortSignal.abort() }))).rejects.toMatchObject({
    code: 'ABORTED',
  });
});

test('a program that ends before it is detached', async () => {
  const launched = await launch(at.options(['true']));
  await launched.exited;
  await expect(launched.detach()).rejects.toMatchObject({ code: 'VMM_GONE', facts: { exitCode: 0 } });
});

test('waiting takes a time limit and leaves the program alone', async () => {
  const launched = await launch(at.options(['sleep', '100']));
  await expect(launched.waitExit({ timeoutMs: 5 })).rejects.toMatchObject({ code: 'TIMEOUT' });
  expect(isAlive(launched.identity)).toBe(true);
  await launched.end();
});

/** Descriptors that whoever started the tests left open for everyone: Node closes those below 16 only. */
function inheritable(): Set<string> {
  const flags = (fd: string): string => readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  const found = new Set<string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      // O_CLOEXEC is 02000000, and the flags are octal (proc(5)).
      if (Number(fd) > 15 && (Number.parseInt(/^flags:\s*(\d+)/m.exec(flags(fd))?.[1] ?? '', 8) & 0o2000000) === 0)
        found.add(fd);
    } catch {
      // the descriptor of the listing itself
    }
  }
  return found;
}

function processesOfSession(session: number | undefined): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
        const [state, , , sid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return state !== 'Z' && Number(sid) === session;
      } catch {
        return false;
      }
    });
}
