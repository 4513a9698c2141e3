import { VmError } from '../errors.ts';
import { isIdentity, type ProcessIdentity } from './process-identity.ts';

/** Version of the record's form. A reader refuses newer ones: it could not know what it would destroy. */
export const recordSchema = 1;

export const vmStatuses = ['creating', 'created', 'running', 'paused', 'stopped', 'failed'] as const;
/** What its last writer knew of a VM. `running` is a claim: whether its `vmm` is alive is looked up, never stored. */
export type VmStatus = (typeof vmStatuses)[number];

/** How a VM ended. */
export interface VmEnding {
  /** ISO 8601, UTC */
  at: string;
  exitCode?: number | undefined;
  signal?: string | undefined;
  reason?: string | undefined;
}

/** What is known of a VM on disk: `state.json` in its folder. */
export interface VmRecord {
  schema: typeof recordSchema;
  /** 12 hexadecimal digits, unique on the host */
  id: string;
  name: string;
  hypervisor: string;
  /** ISO 8601, UTC */
  createdAt: string;
  status: VmStatus;
  /** whether it lives without an owner */
  detached: boolean;
  /** the VMM's folder, absolute */
  runtimeFolder: string;
  /** the process that made the VM, or took it over */
  owner?: ProcessIdentity | undefined;
  /** the VMM's process */
  vmm?: ProcessIdentity | undefined;
  /** the process that ends the VMM when the owner dies; none beside a detached VM */
  keeper?: ProcessIdentity | undefined;
  accel?: string | undefined;
  /** name of the guest image */
  image?: string | undefined;
  /** the driver's own state, versioned by itself */
  driver?: unknown;
  ended?: VmEnding | undefined;
}

/**
 * Checks what was read from a `state.json`. Fields that are not known are kept: an older version of the same schema
 * must not lose what a later one wrote.
 * @param file names the file in messages
 * @throws {VmError} STATE_INVALID
 */
export function parseRecord(text: string, file: string): VmRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, 'is not JSON', error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(file, 'is not an object');
  const record = value as Partial<Record<keyof VmRecord, unknown>>;
  if (typeof record.schema === 'number' && record.schema > recordSchema) {
    throw new VmError(
      'STATE_INVALID',
      `${file} was written by a newer polyvisor (schema ${record.schema}, known: ${recordSchema})`,
      {
        path: file,
        advice: 'Use the polyvisor that made this VM, or a newer one.',
      },
    );
  }
  for (const [field, fits] of Object.entries(checks)) {
    if (!fits(record[field as keyof VmRecord])) throw invalid(file, `has no valid ${field}`);
  }
  return value as VmRecord;
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const orAbsent = (fits: (value: unknown) => boolean) => (value: unknown) => value === undefined || fits(value);

const checks: Record<Exclude<keyof VmRecord, 'driver'>, (value: unknown) => boolean> = {
  schema: (value) => value === recordSchema,
  id: (value) => typeof value === 'string' && /^[0-9a-f]{12}$/.test(value),
  name: isText,
  hypervisor: isText,
  createdAt: (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)),
  status: (value) => vmStatuses.some((status) => status === value),
  detached: (value) => typeof value === 'boolean',
  runtimeFolder: (value) => typeof value === 'string' && value.startsWith('/'),
  owner: orAbsent(isIdentity),
  vmm: orAbsent(isIdentity),
  keeper: orAbsent(isIdentity),
  accel: orAbsent(isText),
  image: orAbsent(isText),
  ended: orAbsent((value) => typeof value === 'object' && value !== null && isText((value as Partial<VmEnding>).at)),
};

function invalid(file: string, why: string, cause?: unknown): VmError {
  return new VmError('STATE_INVALID', `${file} ${why}`, { path: file, cause });
}
