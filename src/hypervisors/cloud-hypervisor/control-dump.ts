import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { moveFile, requireFree } from '../move-file.ts';
import type { CloudHypervisorControl } from './control.ts';

/**
 * Writes the guest's memory into a new ELF file; the guest stands still meanwhile. Cloud Hypervisor writes into its own folder: it may see no
 * other.
 * @throws {VmError} IO when the file is there, VMM_FAILED, TIMEOUT, ABORTED
 */
export async function dumpToFile(
  control: CloudHypervisorControl,
  runtimeFolder: string,
  file: string,
  call: CallOptions,
): Promise<void> {
  await requireFree(file);
  const own = path.join(runtimeFolder, 'coredump');
  await rm(own, { force: true });
  // Cloud Hypervisor dumps a paused guest only.
  const ran = (await control.info(call)).state !== 'Paused';
  if (ran) await control.pause(call);
  try {
    await control.coredump(own, call);
    await moveFile(own, file);
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  } finally {
    await rm(own, { force: true });
    // Also after a caller gave up: it had no paused VM before.
    if (ran) await control.resume();
  }
}
