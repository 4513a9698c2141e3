import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { pinThread } from '../hypervisors/thread-schedule.ts';
import type { HeldVm } from './held-vm.ts';

/**
 * Binds vCPUs to CPUs of the host. It holds for the vCPUs that there are now.
 * @param cpus for each vCPU, by its number, the CPUs on which it may run
 * @throws {VmError} INVALID_ARGUMENT when there is no such vCPU or CPU; UNSUPPORTED, PERMISSION, HOST_MISSING, VMM_GONE
 */
export async function pinVcpus(
  held: HeldVm,
  cpus: Readonly<Record<number, readonly number[]>>,
  call?: CallOptions,
): Promise<void> {
  const threads = await held.hypervisor.threadIds(call);
  const wanted = Object.entries(cpus).map(([vcpu, list]) => ({
    vcpu: Number(vcpu),
    list,
    thread: threads.get(Number(vcpu)),
  }));
  const missing = wanted.find(({ thread }) => thread === undefined);
  if (missing !== undefined) {
    throw new VmError('INVALID_ARGUMENT', `${held.name} has no vCPU ${missing.vcpu}; it has ${threads.size}`, {
      operation: 'pinVcpus',
      name: held.name,
    });
  }
  for (const { thread = 0, list } of wanted) await pinThread(thread, list);
}
