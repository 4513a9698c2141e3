import type { CallOptions } from '../config/call-options.ts';
import type { HeldVm } from './held-vm.ts';
import { noteEvent } from './life-events.ts';

/** Stops a guest's vCPUs, and tells it. @throws {VmError} INVALID_STATE, NOT_FOUND, UNSUPPORTED, VMM_GONE, TIMEOUT, ABORTED */
export async function pauseVm(held: HeldVm, call?: CallOptions): Promise<void> {
  await held.locate();
  await held.hypervisor.pause(call);
  await noteEvent(held.store, await held.change({ status: 'paused' }), 'paused', {});
}

/** Lets a guest's vCPUs go on, and tells it. @throws {VmError} as `pauseVm` does */
export async function resumeVm(held: HeldVm, call?: CallOptions): Promise<void> {
  await held.locate();
  await held.hypervisor.resume(call);
  await noteEvent(held.store, await held.change({ status: 'running' }), 'resumed', {});
}
