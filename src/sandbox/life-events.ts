import type { VmRecord } from '../state/record.ts';
import { appendEvent } from '../state/event-log.ts';
import { vmFiles } from '../state/paths.ts';
import type { VmStore } from '../state/store.ts';

/** What happens to a VM, in the order in which it may. */
export const lifeEventTypes = [
  'created',
  'started',
  'paused',
  'resumed',
  'renamed',
  'adopted',
  'detached',
  'panicked',
  'ended',
  'removed',
] as const;
/** The kind of an event of a VM. */
export type LifeEventType = (typeof lifeEventTypes)[number];

/** What is told beside the kind of an event. */
export interface LifeEventFacts {
  created: object;
  /** its guest answers */
  started: { /** of the VMM */ pid: number };
  paused: object;
  resumed: object;
  renamed: { from: string };
  /** a process has taken it into its ownership */
  adopted: { /** that process */ pid: number };
  /** it lives on without an owner */
  detached: object;
  /** the guest's kernel has panicked */
  panicked: { /** the line in which it says so */ panic: string };
  ended: {
    exitCode?: number | undefined;
    signal?: string | undefined;
    reason?: string | undefined;
    /** `at` is when it was noticed: nobody saw the end itself */
    noticed?: true | undefined;
  };
  removed: object;
}

/** Something that happened to a VM, whichever process did or saw it. */
export type LifeEvent = {
  [type in LifeEventType]: {
    event: type;
    /** ISO 8601, UTC */
    at: string;
    name: string;
    id: string;
    hypervisor: string;
  } & LifeEventFacts[type];
}[LifeEventType];

/** Writes down what happened to a VM, for everyone who follows its events. */
export async function noteEvent<T extends Exclude<LifeEventType, 'removed'>>(
  store: VmStore,
  { name, id, hypervisor }: Pick<VmRecord, 'name' | 'id' | 'hypervisor'>,
  event: T,
  facts: LifeEventFacts[T],
  at: string = new Date().toISOString(),
): Promise<void> {
  await appendEvent(vmFiles.events(store.folder(name)), { at, event, name, id, hypervisor, ...facts });
}

/** Whether a line of a log of events is one. */
export function isLifeEvent(value: object): value is LifeEvent {
  const { event, at, name, id } = value as Partial<LifeEvent>;
  return (
    lifeEventTypes.some((type) => type === event) &&
    typeof at === 'string' &&
    typeof name === 'string' &&
    typeof id === 'string'
  );
}
