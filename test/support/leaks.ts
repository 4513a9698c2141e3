import { setTimeout as sleep } from 'node:timers/promises';
import {
  differences,
  takeSnapshot,
  type Difference,
  type LeakKind,
  type Snapshot,
  type Territory,
} from './snapshot.ts';

/** How long things that end asynchronously (a child just killed, a socket just closed) may take, in ms. */
const settleMs = 2000;

/** What tests of a file may leave to the next ones; gone by the end of the file all the same. */
interface Allowance {
  kind: LeakKind;
  match: RegExp;
}

const allowances: Allowance[] = [];

/**
 * Lets the tests of this file leave something for the next ones, such as the connection that the first command opens
 * to a machine shared by all of them. What `beforeAll` makes needs no such permission: each test is compared with the
 * moment after it. At the end of the file everything must be gone, this included.
 */
export function keepsAcrossTests(kind: LeakKind, match: RegExp): void {
  allowances.push({ kind, match });
}

/** Compares with `before` until nothing differs or the settling time is over. @throws {Error} naming each difference */
export async function expectNothingLeft(
  territory: Territory,
  before: Snapshot,
  options: { allow: boolean; deadlineMs?: number },
): Promise<void> {
  const deadline = performance.now() + (options.deadlineMs ?? settleMs);
  let pauseMs = 5;
  for (;;) {
    const left = differences(before, takeSnapshot(territory)).filter((it) => !(options.allow && isAllowed(it)));
    if (left.length === 0) return;
    if (performance.now() >= deadline) throw new Error(report(left));
    // Other processes end without telling us: there is no event to wait for, so look again, ever less often.
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, 100);
  }
}

function isAllowed({ kind, words }: Difference): boolean {
  return allowances.some((it) => it.kind === kind && it.match.test(words));
}

function report(left: readonly Difference[]): string {
  const lines = left.slice(0, 20).map((it) => `  ${it.kind} ${it.change}: ${it.words}`);
  if (left.length > lines.length) lines.push(`  and ${left.length - lines.length} more`);
  return `the test leaves the machine other than it found it:\n${lines.join('\n')}`;
}
