import { Keeper, type KeeperOptions } from './keeper.ts';
import type { KeeperKind } from './keeper-kind.ts';

/*
 * Node stands still for some milliseconds when it starts a process. Where programs are started one after the other, the next one's
 * keeper is begun ahead: while the program before is at work, and nobody waits for us.
 */

/** Milliseconds within which the next program must come: rarer ones get no spare keeper, and none waits longer. */
const windowMs = 5000;

/** Milliseconds that whoever waited for the last program has for what it does first. */
const delayMs = 2;

let spare: Promise<Keeper> | undefined;
let timer: NodeJS.Timeout | undefined;
let lastAt = Number.NEGATIVE_INFINITY;

/** Begins a keeper, or takes the spare one if it suits. @throws {VmError} what `Keeper.begin` throws */
export async function takeKeeper(options: KeeperOptions): Promise<Keeper> {
  return Keeper.begin(options, await takeSpare());
}

/** Says that a program is at work, and of what kind its keeper is: the next one's may be begun. Never keeps this process alive. */
export function expectNext(kind: KeeperKind): void {
  const now = performance.now();
  const isFrequent = now - lastAt < windowMs;
  lastAt = now;
  if (!isFrequent) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    spare ??= Keeper.prepare(kind);
    // That of the next program tells, should it fail as well.
    spare.catch(() => undefined);
    timer = setTimeout(() => void endSpare(), windowMs).unref();
  }, delayMs).unref();
}

/** Ends the spare keeper, if there is one; as if nothing had been started yet. */
export async function endSpare(): Promise<void> {
  lastAt = Number.NEGATIVE_INFINITY;
  clearTimeout(timer);
  await (await takeSpare())?.end();
}

async function takeSpare(): Promise<Keeper | undefined> {
  const taken = spare;
  spare = undefined;
  return taken?.catch(() => undefined);
}
