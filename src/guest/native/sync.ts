import { VmError } from '../../errors.ts';
import type { SyncOptions } from '../agent.ts';
import { FieldWriter } from './fields.ts';
import { Tag } from './wire.ts';

const MIN_ENTROPY_BYTES = 32;
const MAX_ENTROPY_BYTES = 512;
const MAX_HOSTNAME_BYTES = 63;
const MAC_BYTES = 6;

/**
 * SYNC's payload.
 * @throws {VmError} INVALID_ARGUMENT naming what is wrong
 */
export function syncPayload({ entropy, clockNs, hostname, machineId, macMask }: SyncOptions): Buffer {
  const fields = new FieldWriter();
  if (entropy !== undefined) {
    const length = entropy instanceof Uint8Array ? entropy.length : Number.NaN;
    if (!(length >= MIN_ENTROPY_BYTES && length <= MAX_ENTROPY_BYTES)) {
      throw invalid('entropy', `must be ${MIN_ENTROPY_BYTES} to ${MAX_ENTROPY_BYTES} bytes`);
    }
    fields.bytes(Tag.ENTROPY, entropy);
  }
  if (clockNs !== undefined) {
    if (typeof clockNs !== 'bigint' || clockNs < 0n || clockNs >= 2n ** 63n)
      throw invalid('clockNs', 'must be a bigint from 0 to 2^63 - 1');
    fields.int(Tag.CLOCK, clockNs);
  }
  if (hostname !== undefined) {
    const bytes = Buffer.byteLength(hostname);
    if (bytes < 1 || bytes > MAX_HOSTNAME_BYTES || hostname.includes('\0')) {
      throw invalid('hostname', `must be 1 to ${MAX_HOSTNAME_BYTES} bytes without NUL`);
    }
    fields.text(Tag.HOSTNAME, hostname);
  }
  if (machineId !== undefined) {
    if (!/^[0-9a-f]{32}$/.test(machineId)) throw invalid('machineId', 'must be 32 lower-case hexadecimal digits');
    fields.text(Tag.MACHINE_ID, machineId);
  }
  if (macMask !== undefined) {
    if (!(macMask instanceof Uint8Array && macMask.length === MAC_BYTES))
      throw invalid('macMask', `must be ${MAC_BYTES} bytes`);
    fields.bytes(Tag.MAC_MASK, macMask);
  }
  if (fields.length === 0)
    throw invalid('entropy', 'at least one of entropy, clockNs, hostname, machineId and macMask is needed');
  return fields.finish();
}

function invalid(field: string, problem: string): VmError {
  return new VmError('INVALID_ARGUMENT', `${field}: ${problem}`, { operation: 'sync', field });
}
