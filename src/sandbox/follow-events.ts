import { existsSync, type FSWatcher, readdirSync, statSync, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { vmFiles } from '../state/paths.ts';
import { type LogPosition, readEvents } from '../state/event-log.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { endless } from './endless.ts';
import { settleIfPossible } from './ending.ts';
import { isLifeEvent, type LifeEvent, type LifeEventType } from './life-events.ts';

/** Which events are followed. */
export interface FollowOptions {
  /** also those from then on that lie in the past; of VMs that are gone nothing is known any more */
  since?: Date | undefined;
  /** only these kinds; default all */
  types?: readonly LifeEventType[] | undefined;
  /** go on with what happens from now on; default true */
  follow?: boolean | undefined;
  /** ends the iteration */
  signal?: AbortSignal | undefined;
}

/** Which VMs: all, or those of an id or a name. */
export interface FollowedVms {
  id?: string | undefined;
  /** the present name */
  name?: string | undefined;
}

/** Nothing tells when a process that is not our child ends: a VMM that goes without a word is noticed after so many ms. */
const lookMs = 500;

/**
 * What happens to VMs, whichever process does or sees it, until the signal comes or the iteration is left.
 * It is read from the logs that lie with the VMs when it is asked for, so nothing piles up.
 */
export function followEvents(
  { since, types, follow = true, signal }: FollowOptions = {},
  which: FollowedVms = {},
): AsyncIterableIterator<LifeEvent> {
  return endless(signal, async function* (over) {
    const follower = new Follower(new VmStore(), which, since);
    try {
      await follower.begin();
      while (!over.aborted) {
        for (const event of await follower.look()) if (types === undefined || types.includes(event.event)) yield event;
        if (!follow || (which.id !== undefined && follower.isEmpty)) return;
        await follower.changed(over);
      }
    } finally {
      follower.end();
    }
  });
}

/** A VM that is followed. */
interface Followed {
  record: VmRecord;
  watcher: FSWatcher | undefined;
  position: LogPosition | undefined;
  /** it has been seen alive, and its end was not told since */
  endIsDue: boolean;
}

class Follower {
  readonly #store: VmStore;
  readonly #which: FollowedVms;
  readonly #vms = new Map<string, Followed>();
  /** from when on, until the first look is over */
  #sinceMs: number | undefined;
  /** where the logs ended when it was asked for what happens next, until the first look is over: a time would not tell within a millisecond */
  #ends: ReadonlyMap<string, LogPosition> | undefined;
  #watcher: FSWatcher | undefined;
  #stirred = true;
  #wake: () => void = () => undefined;

  constructor(store: VmStore, which: FollowedVms, since: Date | undefined) {
    this.#store = store;
    this.#which = which;
    this.#sinceMs = since?.getTime();
    if (since === undefined) this.#ends = logEnds(store);
  }

  /** Watches first and looks then, so that nothing falls between. */
  async begin(): Promise<void> {
    const { vms } = this.#store.places;
    if (await stat(vms).catch(() => undefined)) this.#watcher = this.#watch(vms);
  }

  get isEmpty(): boolean {
    return this.#vms.size === 0;
  }

  /** What has happened since the last look, in order. */
  async look(): Promise<LifeEvent[]> {
    this.#stirred = false;
    const events: LifeEvent[] = [];
    const present = new Set<string>();
    for (const record of await this.#records()) {
      present.add(record.id);
      const vm = this.#vms.get(record.id) ?? {
        record,
        watcher: undefined,
        position: undefined,
        endIsDue: false,
      };
      if (vm.watcher === undefined || vm.record.name !== record.name) {
        vm.watcher?.close();
        vm.watcher = this.#watch(this.#store.folder(record.name));
      }
      // Its end may be known to nobody yet: who looks first writes it down.
      vm.record = await settleIfPossible(this.#store, record);
      const log = vmFiles.events(this.#store.folder(vm.record.name));
      const read = readEvents(log, vm.position);
      vm.position = read.position;
      this.#vms.set(record.id, vm);
      const told = read.events.filter(isLifeEvent);
      vm.endIsDue = endIsDue(vm, told);
      const end = this.#ends?.get(record.name);
      const wanted = end === undefined ? told : readEvents(log, end).events.filter(isLifeEvent);
      events.push(...wanted.filter(({ at }) => Date.parse(at) >= (this.#sinceMs ?? 0)));
    }
    for (const [id, { record, watcher, endIsDue: wasAlive }] of this.#vms) {
      if (present.has(id)) continue;
      watcher?.close();
      this.#vms.delete(id);
      const { name, hypervisor } = record;
      const gone = { at: new Date().toISOString(), name, id, hypervisor };
      // Its log has gone with it, and what was last written there.
      if (wasAlive) events.push({ ...gone, event: 'ended', noticed: true });
      events.push({ ...gone, event: 'removed' });
    }
    // What was there at first may be older than asked for; whatever is found later is new.
    this.#sinceMs = this.#ends = undefined;
    return events.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  }

  /** Resolves when it is worth to look again. */
  async changed(over: AbortSignal): Promise<void> {
    if (this.#stirred) return;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (this.#watcher === undefined || this.#someEnded()) resolve();
      }, lookMs);
      this.#wake = (): void => {
        clearInterval(timer);
        resolve();
      };
      over.addEventListener('abort', this.#wake, { once: true });
      if (over.aborted) this.#wake();
    });
    over.removeEventListener('abort', this.#wake);
    this.#wake();
    this.#wake = () => undefined;
    if (this.#watcher === undefined) await this.begin();
  }

  end(): void {
    this.#watcher?.close();
    for (const { watcher } of this.#vms.values()) watcher?.close();
  }

  async #records(): Promise<VmRecord[]> {
    const { id, name } = this.#which;
    const all = (await this.#store.list()).flatMap(({ record }) => (record === undefined ? [] : [record]));
    if (id !== undefined) return all.filter((record) => record.id === id);
    // One that was followed under that name still is when it gets another.
    return all.filter((record) => name === undefined || record.name === name || this.#vms.has(record.id));
  }

  #someEnded(): boolean {
    return [...this.#vms.values()].some(
      ({ record }) =>
        (record.status === 'running' || record.status === 'paused') && record.ended === undefined && isGone(record.vmm),
    );
  }

  #watch(folder: string): FSWatcher | undefined {
    const stir = (): void => {
      this.#stirred = true;
      this.#wake();
    };
    try {
      // A folder that goes while it is watched is seen by the next look.
      return watch(folder, stir).on('error', stir);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') throw error;
      stir();
      return undefined;
    }
  }
}

/** Where the logs of all VMs end now. */
function logEnds(store: VmStore): Map<string, LogPosition> {
  const { vms } = store.places;
  if (!existsSync(vms)) return new Map();
  return new Map(
    readdirSync(vms).flatMap((name): [string, LogPosition][] => {
      const found = statSync(vmFiles.events(path.join(vms, name)), { throwIfNoEntry: false });
      return found === undefined ? [] : [[name, { inode: found.ino, offset: found.size }]];
    }),
  );
}

function isGone(process: ProcessIdentity | undefined): boolean {
  return process === undefined || !isAlive(process);
}

/** The record may say that a VM has ended a moment before its log does. */
function endIsDue({ record: { status }, endIsDue: before }: Followed, told: readonly LifeEvent[]): boolean {
  const last = told.findLast(({ event }) => event === 'started' || event === 'ended');
  return last === undefined ? before || status === 'running' || status === 'paused' : last.event === 'started';
}
