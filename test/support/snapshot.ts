import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

/** What a test can leave behind. */
export type LeakKind = 'process' | 'descriptor' | 'mount' | 'socket' | 'file';

/** Where one test file's own things are. */
export interface Territory {
  /** Folder that holds everything of this test file: its POLYVISOR_HOME and its TMPDIR. */
  root: string;
  /** Folder that `os.tmpdir()` answers; only its entries named `polyvisor*` count. */
  tmp: string;
  /** POLYVISOR_HOME; every entry in it counts, but for those in `cache`, which is made to stay. */
  home: string;
}

/** One thing found: a key that is stable while it lives, how often it is there, and words for a report. */
interface Found {
  count: number;
  words: string;
}

export type Snapshot = Record<LeakKind, Map<string, Found>>;

/** A difference between two snapshots. */
export interface Difference {
  kind: LeakKind;
  change: 'left behind' | 'gone';
  words: string;
}

/** libuv opens these once, at first use, and keeps them to the end of the process. */
const runtimeDescriptors = /^anon_inode:(inotify|\[io_uring\])$|^\/dev\/(null|urandom)$|^\/proc\//;

/** Takes stock of everything that could leak, now. Reads only; never waits. */
export function takeSnapshot(territory: Territory): Snapshot {
  const processes = ownProcesses(territory);
  return {
    process: new Map(
      [...processes].map(([pid, it]) => [`${pid}:${it.start}`, { count: 1, words: `${pid} ${it.words}` }]),
    ),
    descriptor: descriptors(),
    mount: mounts(territory),
    socket: sockets(territory, [process.pid, ...processes.keys()]),
    file: files(territory),
  };
}

/**
 * What differs. Anything new counts; of what is gone, descriptors and sockets don't: closing them is what is wanted,
 * and a process that served several connections drops them one by one.
 */
export function differences(before: Snapshot, after: Snapshot): Difference[] {
  const found: Difference[] = [];
  for (const kind of Object.keys(before) as LeakKind[]) {
    for (const [key, it] of after[kind]) {
      const more = it.count - (before[kind].get(key)?.count ?? 0);
      if (more > 0) {
        found.push({ kind, change: 'left behind', words: more > 1 ? `${it.words} (${more} times)` : it.words });
      }
    }
    if (kind === 'descriptor' || kind === 'socket') continue;
    for (const [key, it] of before[kind]) {
      if (!after[kind].has(key)) found.push({ kind, change: 'gone', words: it.words });
    }
  }
  return found;
}

interface Proc {
  parent: number;
  start: number;
  words: string;
}

/** Descendants of this process, and any younger process whose command line or environment names our territory. */
function ownProcesses(territory: Territory): Map<number, Proc> {
  const all = new Map<number, Proc>();
  for (const name of entries('/proc')) {
    const pid = Number(name);
    const it = Number.isInteger(pid) ? readProc(pid) : undefined;
    if (it !== undefined) all.set(pid, it);
  }
  const self = all.get(process.pid);
  const own = new Map<number, Proc>();
  for (const [pid, it] of all) {
    // A process older than this worker can't be a test's: don't read the environments of the whole machine.
    if (pid === process.pid || (self !== undefined && it.start < self.start)) continue;
    if (isDescendant(pid, all) || mentions(pid, territory.root)) own.set(pid, { ...it, words: describe(pid) });
  }
  return own;
}

/** Parent and start time from `/proc/PID/stat`; undefined for one that is gone or a zombie, which counts as dead. */
function readProc(pid: number): Proc | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The command in parentheses may itself hold blanks and parentheses: fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent, start] = [fields[0], Number(fields[1]), Number(fields[19])];
  return state === 'Z' || state === 'X' ? undefined : { parent, start, words: '' };
}

function isDescendant(pid: number, all: Map<number, Proc>): boolean {
  for (let at = all.get(pid)?.parent ?? 0, steps = 0; at > 1 && steps < 100; at = all.get(at)?.parent ?? 0, steps++) {
    if (at === process.pid) return true;
  }
  return false;
}

function mentions(pid: number, text: string): boolean {
  return (read(`/proc/${pid}/cmdline`) ?? '').includes(text) || (read(`/proc/${pid}/environ`) ?? '').includes(text);
}

function describe(pid: number): string {
  const line = (read(`/proc/${pid}/cmdline`) ?? '').replaceAll('\0', ' ').trim();
  return line.length > 300 ? `${line.slice(0, 300)}...` : line;
}

function descriptors(): Map<string, Found> {
  const found = new Map<string, Found>();
  for (const fd of entries('/proc/self/fd')) {
    const target = link(`/proc/self/fd/${fd}`);
    if (target === undefined || runtimeDescriptors.test(target)) continue;
    const it = found.get(target);
    if (it === undefined) found.set(target, { count: 1, words: `fd ${fd} -> ${target}` });
    else it.count++;
  }
  return found;
}

function mounts({ root }: Territory): Map<string, Found> {
  const found = new Map<string, Found>();
  for (const line of (read('/proc/self/mountinfo') ?? '').split('\n')) {
    if (line.includes(root)) found.set(line.split(' ')[0] ?? '', { count: 1, words: line });
  }
  return found;
}

/**
 * Bound unix sockets with a path in our territory, and abstract ones named `@polyvisor*` that one of our processes
 * holds: test files run side by side, and another worker's locks are none of ours.
 */
function sockets({ root }: Territory, pids: readonly number[]): Map<string, Found> {
  const found = new Map<string, Found>();
  const lines = (read('/proc/net/unix') ?? '').split('\n').slice(1);
  const named = lines.map((line) => line.trim().split(/\s+/)).filter((row) => row[7] !== undefined);
  const abstract = named.some((row) => row[7]?.startsWith('@polyvisor')) ? socketInodes(pids) : new Set<string>();
  for (const row of named) {
    const [inode, name] = [row[6] ?? '', row.slice(7).join(' ')];
    const ours = name.startsWith(root) || (name.startsWith('@polyvisor') && abstract.has(inode));
    if (ours) found.set(inode, { count: 1, words: name });
  }
  return found;
}

function socketInodes(pids: readonly number[]): Set<string> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const fd of entries(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`) ?? '')?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
  }
  return inodes;
}

function files({ home, tmp }: Territory): Map<string, Found> {
  const found = new Map<string, Found>();
  const visit = (at: string): void => {
    const stat = lstatSync(at, { throwIfNoEntry: false });
    // What is kept for the next VMs is no VM's, as the cache.
    if (stat === undefined || at === path.join(home, 'state', 'jails')) return;
    found.set(at, { count: 1, words: at });
    if (stat.isDirectory()) for (const name of entries(at)) visit(path.join(at, name));
  };
  for (const name of entries(home)) if (name !== 'cache') visit(path.join(home, name));
  for (const name of entries(tmp)) if (name.startsWith('polyvisor')) visit(path.join(tmp, name));
  return found;
}

/** What disappears or is refused while we look is simply not there. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return undefined;
  }
}

function link(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    return undefined;
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
