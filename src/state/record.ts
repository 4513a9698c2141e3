import { VmError } from '../errors.ts';
import { isIdentity, type ProcessIdentity } from './process-identity.ts';

/** Version of the record's form. A reader refuses newer ones: it could not know what it would destroy. */
export const recordSchema = 1;

export const vmStatuses = ['creating', 'created', 'starting', 'running', 'paused', 'stopped', 'failed'] as const;
/** What its last writer knew of a VM. `running` is a claim: whether its `vmm` is alive is looked up, never stored. */
export type VmStatus = (typeof vmStatuses)[number];

/** A port of this host that leads into a guest. */
export interface RecordedPort {
  /** an IP address, or the path of a unix socket */
  hostAddress: string;
  /** absent with a unix socket */
  hostPort?: number | undefined;
  /** `tcp:HOST:PORT` or `unix:/path` in the guest */
  guest: string;
  /** the process that listens */
  server: ProcessIdentity;
}

/** How a VM ended. */
export interface VmEnding {
  /** ISO 8601, UTC; when it was noticed, if nobody saw the end itself */
  at: string;
  /** of the VMM; absent when nobody could see it, as with a detached VM */
  exitCode?: number | undefined;
  /** that ended the VMM, such as SIGKILL; absent like `exitCode` */
  signal?: string | undefined;
  /** such as `guest-shutdown`, `guest-panicked`, `host-reboot`, `killed` */
  reason?: string | undefined;
  /** the line in which the guest's kernel says that it has panicked */
  panic?: string | undefined;
  /** `at` is when it was noticed */
  noticed?: true | undefined;
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
  /** it is just being detached: should its owner die, it is detached if it lives on, and abandoned if not */
  detaching?: true | undefined;
  /** the VMM's folder, absolute */
  runtimeFolder: string;
  /** the process that made the VM, or took it over */
  owner?: ProcessIdentity | undefined;
  /** other processes with which it lives as well: each has joined its lease */
  heirs?: readonly ProcessIdentity[] | undefined;
  /** the VMM's process */
  vmm?: ProcessIdentity | undefined;
  /** the process that ends the VMM when the owner dies; none beside a detached VM */
  keeper?: ProcessIdentity | undefined;
  accel?: string | undefined;
  /** name of the guest image */
  image?: string | undefined;
  /** as it was made; copied from the configuration, so that a list of VMs need not read that */
  vcpus?: number | undefined;
  memoryMiB?: number | undefined;
  /** ports of this host that lead into the guest, each with the process that serves it, dead or alive */
  ports?: readonly RecordedPort[] | undefined;
  /** the process that serves the ports of a detached VM; it ends with the VM */
  forwarder?: ProcessIdentity | undefined;
  /** what that process is to forward whenever the VM is started, as `[addr:]host:guest` */
  publish?: readonly string[] | undefined;
  /** the name that its folder is about to get (store.ts) */
  renamingTo?: string | undefined;
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
const isCount = (value: unknown): boolean => Number.isSafeInteger(value);
const orAbsent = (fits: (value: unknown) => boolean) => (value: unknown) => value === undefined || fits(value);

const checks: Record<Exclude<keyof VmRecord, 'driver'>, (value: unknown) => boolean> = {
  schema: (value) => value === recordSchema,
  id: (value) => typeof value === 'string' && /^[0-9a-f]{12}$/.test(value),
  name: isText,
  hypervisor: isText,
  createdAt: (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)),
  status: (value) => vmStatuses.some((status) => status === value),
  detached: (value) => typeof value === 'boolean',
  detaching: orAbsent((value) => value === true),
  runtimeFolder: (value) => typeof value === 'string' && value.startsWith('/'),
  owner: orAbsent(isIdentity),
  heirs: orAbsent((value) => Array.isArray(value) && value.every(isIdentity)),
  vmm: orAbsent(isIdentity),
  keeper: orAbsent(isIdentity),
  accel: orAbsent(isText),
  image: orAbsent(isText),
  vcpus: orAbsent(isCount),
  memoryMiB: orAbsent(isCount),
  ports: orAbsent((value) => Array.isArray(value) && value.every(isPort)),
  forwarder: orAbsent(isIdentity),
  publish: orAbsent((value) => Array.isArray(value) && value.every(isText)),
  renamingTo: orAbsent(isText),
  ended: orAbsent((value) => typeof value === 'object' && value !== null && isText((value as Partial<VmEnding>).at)),
};

function isPort(value: unknown): value is RecordedPort {
  const it = value as Partial<RecordedPort> | null;
  return typeof it === 'object' && it !== null && isText(it.hostAddress) && isText(it.guest) && isIdentity(it.server);
}

function invalid(file: string, why: string, cause?: unknown): VmError {
  return new VmError('STATE_INVALID', `${file} ${why}`, { path: file, cause });
}
