import { VmError } from '../errors.ts';
import type { VmContext } from './hypervisor.ts';

/*
 * A VM as bytes, as virtcontainers hands one over in `GrpcVM.hypervisor`: JSON in a field of bytes.
 */

/** Most bytes of a description: a VM with every slot of every bus taken has far fewer. */
const maxBytes = 4 * 2 ** 20;

interface Handover {
  schema: 1;
  context: VmContext;
  /** what the driver's saveState gave */
  state: unknown;
}

/** @param state what the driver's saveState gave */
export function packed(context: VmContext, state: unknown): Uint8Array {
  const handover: Handover = { schema: 1, context, state };
  return new TextEncoder().encode(JSON.stringify(handover));
}

/** @throws {VmError} STATE_INVALID when the bytes are not what {@link packed} of this version made */
export function unpacked(bytes: Uint8Array): Omit<Handover, 'schema'> {
  let handover: Partial<Handover> | null = null;
  try {
    if (bytes.length <= maxBytes) {
      handover = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Partial<Handover> | null;
    }
  } catch (error) {
    throw new VmError('STATE_INVALID', 'the bytes do not describe a VM', { operation: 'fromGrpc', cause: error });
  }
  const { schema, context, state } = handover ?? {};
  if (schema !== 1 || !isContext(context) || state === undefined)
    throw new VmError('STATE_INVALID', 'the bytes do not describe a VM as this version does', {
      operation: 'fromGrpc',
    });
  return { context, state };
}

function isContext(context: Partial<VmContext> | undefined): context is VmContext {
  if (typeof context?.config !== 'object' || context.config === null) return false;
  const { id, name, runtimeFolder, stateFolder } = context;
  return [id, name, runtimeFolder, stateFolder].every((text) => typeof text === 'string' && text !== '');
}
