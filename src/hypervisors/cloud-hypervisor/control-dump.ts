import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { moveFile, requireFree } from '../move-file.ts';
import { withPassage } from './control-passage.ts';
import type { LiveScope } from './control-plug.ts';

/** What it is called until it is whole. */
const name = 'coredump';

/**
 * Writes the guest's memory into a new ELF file; the guest stands still meanwhile.
 * @throws {VmError} IO when the file is there, VMM_FAILED, TIMEOUT, ABORTED
 */
export async function dumpToFile(scope: LiveScope, file: string, call: CallOptions): Promise<void> {
  const { control } = scope;
  await requireFree(file);
  // Cloud Hypervisor dumps a paused guest only.
  const ran = (await control.info(call)).state !== 'Paused';
  if (ran) await control.pause(call);
  try {
    await withPassage(scope, path.dirname(file), call, async (folder, here) => {
      await control.coredump(path.join(folder, name), call);
      await moveFile(path.join(here, name), file);
    });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  } finally {
    // Also after a caller gave up: it had no paused VM before.
    if (ran) await control.resume();
  }
}
