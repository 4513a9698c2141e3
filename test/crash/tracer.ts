import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';

/** The system calls that change something: what is between two of them does not matter. */
export const changingCalls: readonly string[] =
  // prettier-ignore
  ('openat creat mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir link linkat symlink symlinkat chmod fchmod fchmodat ' +
    'truncate ftruncate write pwrite64 writev pwritev fsync fdatasync mknod mknodat socket socketpair bind listen connect sendto sendmsg ' +
    'pipe2 fork vfork clone clone3 execve kill tgkill mount umount2 dup3').split(' ');

/** A system call that a process made, as it is found again in a later run of the same program. */
export interface Point {
  /** the main thread, or the pool's, on which all of fs/promises runs */
  thread: 'main' | 'pool';
  call: string;
  /** the how manieth of its name on its thread since the gate, from 1 */
  nth: number;
  /** its line in strace's log */
  line: string;
}

/** What is done to a process at one of its calls: a signal, or an error instead of the call. */
export type Fault = { signal: 'KILL' } | { error: 'ENOSPC' | 'EIO' | 'EMFILE' };

/** How a traced program ended. */
export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** whether the fault came */
  struck: boolean;
  /** whether it had to be killed, because it did not come to an end */
  hung: boolean;
}

const gate = new URL('gate.js', import.meta.url).href;

/** A program for Node, and what of dist/ it would load in the middle of its work. */
export interface Program {
  argv: readonly string[];
  preload: readonly string[];
  /** which of the keepers that it begins is traced; default 0, the first one */
  keeper?: number;
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const lifeModules = ['sandbox/vm.js', 'sandbox/prepare.js', 'hypervisors/mock/index.js'];

/** owner.js: the library, through the whole lives of so many VMs, one after the other. */
export const library = (options: VmOptions, vms = 1): Program => ({
  argv: [path.join(root, 'test/crash/owner.js'), JSON.stringify(options), `${vms}`],
  preload: lifeModules,
});

/** A command of the command line. */
export const cli = (command: string, ...words: string[]): Program => ({
  argv: [path.join(root, 'bin/polyvisor.js'), command, ...words],
  preload: ['../bin/load-program.js'],
});

/** Runs a program to its end and tells every changing call that it made after the gate. */
export async function record(program: Program): Promise<{ points: Point[]; ending: Ending }> {
  return traced(program, async (threads, log) => {
    const filter = ['-e', `trace=${changingCalls.join()}`];
    const strace = await attach(['-y', '-s', '300', '-o', log, ...filter], [threads.main, threads.pool]);
    return { strace, result: (text) => ({ points: pointsOf(text, threads), struck: false }) };
  });
}

/** Runs a program until it comes to that point, at which the fault strikes it. */
export async function strike(program: Program, point: Point, fault: Fault): Promise<Ending> {
  const { ending } = await traced(program, async (threads, log) => {
    const inject = [
      '-e',
      `trace=${point.call}`,
      '-e',
      `inject=${point.call}:${describeFault(fault)}:when=${point.nth}`,
    ];
    const strace = await attach(['-o', log, ...inject], [threads[point.thread]]);
    const signs = 'signal' in fault ? /\+\+\+ killed by SIGKILL/ : /\(INJECTED\)/;
    return { strace, result: (text) => ({ points: [], struck: signs.test(text) }) };
  });
  return ending;
}

/** The calls of a keeper's shells and of what they run at which something changes, for itself or for others. */
const keeperCalls =
  'openat clone clone3 fork vfork execve write kill rename renameat2 bind listen accept4 exit_group'.split(' ');

/** Runs a program that makes a VM, and tells the calls of its keeper and of the keeper's children, the VMM among them. */
export async function recordKeeper(program: Program): Promise<{ points: Point[]; ending: Ending }> {
  return underStrace(program, ['-f', '-e', `trace=${keeperCalls.join()}`], (log) => {
    const all = log.split('\n').flatMap((line) => (line.includes(' resumed>') ? [] : [line]));
    const points = new Map<string, Point>();
    const counts = new Map<string, number>();
    for (const line of all) {
      const [, tid, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
      if (tid === undefined || call === undefined) continue;
      const nth = (counts.get(`${tid} ${call}`) ?? 0) + 1;
      counts.set(`${tid} ${call}`, nth);
      // A fault strikes each of the processes at that call: once for all of them.
      const key = `${call} ${nth}`;
      if (!points.has(key)) points.set(key, { thread: 'main', call, nth, line });
    }
    return { points: [...points.values()], struck: false };
  });
}

/** Strikes each process under the keeper, and the keeper itself, when it comes to that call. */
export async function strikeKeeper(program: Program, { call, nth }: Point, fault: Fault): Promise<Ending> {
  const words = ['-f', '-e', `trace=${call}`, '-e', `inject=${call}:${describeFault(fault)}:when=${nth}`];
  return (await underStrace(program, words, (log) => ({ points: [], struck: log.includes('KILL') }))).ending;
}

const keeperTracer = new URL('trace-keeper.js', import.meta.url).href;

async function underStrace(
  { argv, keeper = 0 }: Program,
  words: readonly string[],
  result: (log: string) => { points: Point[]; struck: boolean },
): Promise<{ points: Point[]; ending: Ending }> {
  const folder = mkdtempSync(path.join(tmpdir(), 'trace-'));
  try {
    const log = path.join(folder, 'log');
    const child = spawn(process.execPath, ['--import', keeperTracer, ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, CRASH_KEEPER: JSON.stringify(['-o', log, ...words]), CRASH_NTH: `${keeper}` },
    });
    const output = [collect(child.stdout), collect(child.stderr)] as const;
    const end = await endOf(child, once(child, 'exit'));
    const { points, struck } = result(readFileSync(log, 'utf8'));
    return { points, ending: { ...end, struck, stdout: output[0](), stderr: output[1]() } };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Milliseconds that a program gets: it takes one second, and some calls of ours have limits of ten. */
const patienceMs = 45_000;

async function endOf(
  child: ChildProcess,
  ended: Promise<unknown[]>,
): Promise<Pick<Ending, 'code' | 'signal' | 'hung'>> {
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, patienceMs);
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  return { code, signal, hung };
}

const describeFault = (fault: Fault): string => ('signal' in fault ? `signal=${fault.signal}` : `error=${fault.error}`);

interface Threads {
  main: number;
  pool: number;
}

interface Tracing {
  strace: ChildProcess;
  result(log: string): { points: Point[]; struck: boolean };
}

async function traced(
  { argv, preload }: Program,
  trace: (threads: Threads, log: string) => Promise<Tracing>,
): Promise<{ points: Point[]; ending: Ending }> {
  const folder = mkdtempSync(path.join(tmpdir(), 'trace-'));
  try {
    const child = spawn(process.execPath, ['--import', gate, ...argv], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '1', UV_USE_IO_URING: '0', CRASH_PRELOAD: preload.join(':') },
    });
    const output = [collect(child.stdout), collect(child.stderr)] as const;
    const ended = once(child, 'exit');
    // Both ends are pipes, whatever the type says of more than three.
    const [told, go] = [child.stdio[3] as Readable, child.stdio[4] as Writable];
    go.on('error', () => undefined);
    const [line] = (await Promise.race([once(createInterface({ input: told }), 'line'), ended])) as [unknown];
    if (typeof line !== 'string') throw new Error(`the program did not come to the gate: ${output[1]()}`);
    const log = path.join(folder, 'log');
    const { strace, result } = await trace(JSON.parse(line) as Threads, log);
    const over = once(strace, 'close');
    go.end('\n');
    const end = await endOf(child, ended);
    await over;
    const { points, struck } = result(readFileSync(log, 'utf8'));
    return { points, ending: { ...end, struck, stdout: output[0](), stderr: output[1]() } };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Resolves once strace holds every one of the threads. */
async function attach(words: readonly string[], threads: readonly number[]): Promise<ChildProcess> {
  const strace = spawn('strace', [...words, ...threads.flatMap((thread) => ['-p', String(thread)])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let missing = threads.length;
  const said: string[] = [];
  for await (const line of createInterface({ input: strace.stderr })) {
    said.push(line);
    if (/attached/.test(line) && --missing === 0) {
      strace.stderr.resume();
      return strace;
    }
  }
  throw new Error(`strace could not be attached: ${said.join('; ')}`);
}

function pointsOf(log: string, threads: Threads): Point[] {
  const counts = new Map<string, number>();
  const points: Point[] = [];
  for (const line of log.split('\n')) {
    const [, tid, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (tid === undefined || call === undefined) continue;
    const thread = Number(tid) === threads.main ? 'main' : 'pool';
    const nth = (counts.get(`${thread} ${call}`) ?? 0) + 1;
    counts.set(`${thread} ${call}`, nth);
    points.push({ thread, call, nth, line });
  }
  return points;
}

function collect(stream: Readable | null): () => string {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}
