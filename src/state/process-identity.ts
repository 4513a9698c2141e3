import { readFileSync } from 'node:fs';

/**
 * A process, told apart from a later one that got the same pid: the kernel gives pids out again, so a pid alone
 * is never trusted.
 */
export interface ProcessIdentity {
  /** above 1: never the kernel's or init's, and never a process group */
  pid: number;
  /** clock ticks from boot to the process's start: field 22 of /proc/PID/stat (proc(5)) */
  startTime: number;
  /** /proc/sys/kernel/random/boot_id of the boot in which it was started */
  bootId: string;
}

let cachedBootId: string | undefined;

/** The id of the host's present boot; the same string until it reboots. */
export function bootId(): string {
  cachedBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return cachedBootId;
}

/** Start time and state from the text of a `/proc/PID/stat`; undefined when it is not such a text. */
export function parseStat(stat: string): { startTime: number; state: string } | undefined {
  // The command in parentheses may itself hold blanks and parentheses: fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0] ?? '', Number(fields[19])];
  return Number.isSafeInteger(startTime) && startTime > 0 && /^[A-Za-z]$/.test(state)
    ? { startTime, state }
    : undefined;
}

/** Identifies a process that runs now; undefined when there is none of that pid, or only its zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined || isDead(stat.state) ? undefined : { pid, startTime: stat.startTime, bootId: bootId() };
}

let own: ProcessIdentity | undefined;

/** The identity of this very process. */
export function ownIdentity(): ProcessIdentity {
  own ??= identify(process.pid);
  if (own === undefined) throw new Error('/proc does not show this process: is /proc mounted?');
  return own;
}

/** Whether that very process still runs. A zombie counts as dead: it holds nothing but its exit status. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== bootId()) return false;
  const stat = readStat(identity.pid);
  return stat !== undefined && !isDead(stat.state) && stat.startTime === identity.startTime;
}

/** Whether that process runs no code until it gets SIGCONT: it was stopped by a signal, or is being traced. */
export function isFrozen(identity: ProcessIdentity): boolean {
  const stat = isAlive(identity) ? readStat(identity.pid) : undefined;
  return stat?.state === 'T' || stat?.state === 't';
}

/**
 * Sends a signal to that very process. False when it is dead, or not ours to signal.
 * Between the check and the signal lie microseconds in which the pid can't have gone round all others.
 */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}

/** Whether a value read from disk is an identity. */
export function isIdentity(value: unknown): value is ProcessIdentity {
  const it = value as Partial<ProcessIdentity> | null;
  return (
    typeof it === 'object' &&
    it !== null &&
    isPid(it.pid) &&
    Number.isSafeInteger(it.startTime) &&
    typeof it.bootId === 'string'
  );
}

/** Linux' pids end at 2^22 (PID_MAX_LIMIT). */
function isPid(pid: unknown): pid is number {
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 1 && pid <= 2 ** 22;
}

function isDead(state: string): boolean {
  return state === 'Z' || state === 'X' || state === 'x';
}

function readStat(pid: number): { startTime: number; state: string } | undefined {
  if (!isPid(pid)) return undefined;
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}
