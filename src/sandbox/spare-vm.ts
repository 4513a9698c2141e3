import { existsSync } from 'node:fs';
import { shellEnvironment } from '../transports/process/shell-environment.ts';
import { type Keeping, stage, stageAhead, type StagedVm, unstage } from './staged-vm.ts';

/*
 * Node stands still for some milliseconds when it starts a process, and a keeper needs some more until it is ready. Where VMs are made
 * one after the other, the next one is staged ahead: while the one before is at work, and nobody waits for us.
 */

/** Milliseconds within which the next VM must come: rarer ones are not staged ahead, and none that is waits longer. */
const windowMs = 5000;

/** Milliseconds after which the next VM is staged, if the last one is not gone before: what is done with that one comes first. */
const delayMs = 100;

interface Spare {
  /** the same for two that can stand for each other */
  key: string;
  staged: Promise<StagedVm | undefined>;
}

let spare: Spare | undefined;
let timer: NodeJS.Timeout | undefined;
let stagesNext: (() => void) | undefined;
let lastAt = Number.NEGATIVE_INFINITY;

/** Stages a VM that is to be started at once, or takes the one that was staged ahead. @throws {VmError} START_FAILED, HOST_MISSING */
export async function takeStaged(keeping: Keeping, name: string): Promise<StagedVm> {
  const taken = spare;
  spare = undefined;
  const staged = await taken?.staged;
  if (staged !== undefined) {
    if (taken?.key === keyOf(keeping) && isWhole(staged, keeping)) return staged;
    await unstage(staged);
  }
  return stage(keeping, name);
}

/** Says that a VM is at work: the next one of its kind may be staged. Never keeps this process alive. */
export function expectNext(keeping: Keeping): void {
  const now = performance.now();
  const isFrequent = now - lastAt < windowMs;
  lastAt = now;
  if (!isFrequent) return;
  stagesNext = () => {
    stagesNext = undefined;
    clearTimeout(timer);
    // One that can't be staged is missed by nobody: the next VM tells why, should it fail as well.
    spare ??= { key: keyOf(keeping), staged: stageAhead(keeping).catch(() => undefined) };
    timer = setTimeout(() => void endSpare(), windowMs).unref();
    process.off('beforeExit', onExit).once('beforeExit', onExit);
  };
  clearTimeout(timer);
  timer = setTimeout(stageNext, delayMs).unref();
}

/** Says that the VM has done its work: the next one is staged now, if it is expected. */
export function stageNext(): void {
  stagesNext?.();
}

/** Ends the VM that was staged ahead, if there is one; as if none had been made yet. */
export async function endSpare(): Promise<void> {
  lastAt = Number.NEGATIVE_INFINITY;
  stagesNext = undefined;
  clearTimeout(timer);
  process.off('beforeExit', onExit);
  const ended = spare;
  spare = undefined;
  const staged = await ended?.staged;
  if (staged !== undefined) await unstage(staged);
}

/** Else its keeper has it pruned, by a process that outlives us for a moment. */
function onExit(): void {
  void endSpare();
}

/** Its keeper waits, and nobody has removed the folders. */
function isWhole({ keeper, folder = '' }: StagedVm, { store }: Keeping): boolean {
  return keeper.waits && existsSync(folder) && existsSync(store.places.runtime);
}

/** What a keeper gets from us when it begins. */
function keyOf({ store, through }: Keeping): string {
  const { geteuid, getegid, getgroups, umask } = process;
  const credentials = [geteuid?.(), getegid?.(), getgroups?.(), umask()];
  return JSON.stringify([store.places, through, shellEnvironment(), credentials]);
}
