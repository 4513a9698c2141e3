import type { BuildEvent } from '../images/image.ts';

/** The stages of `Vm.create`, in order. */
export type Phase = 'image' | 'create' | 'start' | 'boot' | 'ready';

/** Progress of a VM on its way to answering. */
export type VmEvent =
  | { type: 'phase'; phase: Phase; message: string; /** milliseconds since `create` was called */ elapsedMs: number }
  | { type: 'notice'; /** a line that a user should see */ message: string }
  | { type: 'image'; event: BuildEvent };

/** Called with each event while a VM is being created. */
export type VmEventListener = (event: VmEvent) => void;
