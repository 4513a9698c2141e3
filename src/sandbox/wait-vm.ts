import type { CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { VmEnding } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { recall } from './context.ts';
import { endingOf, settle } from './ending.ts';
import { statusOf } from './status.ts';

/** A VM that has ended. */
export interface EndedVm {
  name: string;
  id: string;
  ended?: VmEnding | undefined;
}

/**
 * Waits until a VM has ended, whoever owns it, and tells how. One that ended before is told of at once.
 * @throws {VmError} NOT_RUNNING when it was never started, NOT_FOUND, TIMEOUT, ABORTED
 */
export async function waitForVm(name: string, call: CallOptions = {}): Promise<EndedVm> {
  const store = new VmStore();
  const record = await settle(store, await store.read(validateName(name)));
  if (record.ended !== undefined) return record;
  if (record.vmm === undefined) throw new VmError('NOT_RUNNING', `${name} is ${statusOf(record)}`, { name });
  const { module, context } = await recall(store, record);
  const driver = module.driver(context);
  await driver.loadState(record.driver);
  const exit = await driver.wait(call);
  const { id } = record;
  try {
    return await settle(store, await store.find({ id, name }));
  } catch (error) {
    // Removed as soon as it had ended: what its VMM left is all that is known.
    if (VmError.from(error).code !== 'NOT_FOUND') throw error;
    return { name, id, ended: endingOf(exit, '') };
  }
}
