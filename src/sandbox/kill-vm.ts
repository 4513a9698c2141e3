import { VmError } from '../errors.ts';
import { validateName } from '../config/names.ts';
import { signalProcess } from '../state/process-identity.ts';
import { VmStore } from '../state/store.ts';
import { HeldVm } from './held-vm.ts';
import { statusOf } from './status.ts';
import { recordEnd } from './stop-vm.ts';

/**
 * Sends a signal to the VMM of a VM that runs. SIGKILL ends it, and it is waited for; what any other one does is the VMM's to say.
 * @throws {VmError} NOT_RUNNING, NOT_FOUND, INVALID_NAME, STATE_INVALID, PERMISSION
 */
export async function killVm(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const store = new VmStore();
  const record = await store.read(validateName(name));
  const status = statusOf(record);
  if (record.vmm === undefined || (status !== 'running' && status !== 'paused')) {
    throw new VmError('NOT_RUNNING', `${name} is ${status}`, { name, hypervisor: record.hypervisor });
  }
  if (signal !== 'SIGKILL') {
    if (signalProcess(record.vmm, signal)) return;
    throw new VmError('PERMISSION', `${signal} could not be sent to the VMM of ${name}`, { name, signal });
  }
  const held = await HeldVm.fromRecord(store, record);
  await held.hypervisor.kill();
  await recordEnd(held, 'killed');
}
