import { randomUUID } from 'node:crypto';
import type { Param } from '../config/kernel-params.ts';
import { parseSizeMiB } from '../config/units.ts';
import { VmError } from '../errors.ts';

/** The layer above a root image that takes what a guest writes. */
export interface ScratchSpec {
  /** most that it holds, in MiB; default 8192, of which only what is written takes room on the host's disk */
  sizeMiB?: number | undefined;
  /** a file of the host, or the guest's own memory; default `disk` */
  on?: 'disk' | 'memory' | undefined;
  /** it is there again when the VM is started again, until the VM is removed; on disk only; default false */
  keep?: boolean | undefined;
}

/** The same, decided. */
export interface Scratch {
  sizeMiB: number;
  on: 'disk' | 'memory';
  keep: boolean;
  /** of the file system, by which the guest finds the disk */
  uuid: string;
}

const defaultMiB = 8192;
/** Below, ext4 has no room for anything but itself. */
const leastMiB = 16;
/** ext4 with blocks of 4 KiB. */
const mostMiB = 16 * 2 ** 20;
/** The rest of the memory is for programs: one that fills the layer must not be what ends them. */
const memoryShare = 0.75;

/** The guest's parameter by which its agent knows where the layer is. */
const scratchKey = 'polyvisor.scratch';

/** Reads `2G`, `disk:2G` or `memory:512M`. @throws {VmError} INVALID_ARGUMENT */
export function parseScratch(text: string): ScratchSpec {
  const [, on = 'disk', size = ''] = /^(?:(disk|memory):)?(.*)$/s.exec(text) ?? [];
  return { sizeMiB: parseSizeMiB(size), on: on as 'disk' | 'memory' };
}

/** @throws {VmError} INVALID_ARGUMENT */
export function scratchOf(spec: ScratchSpec): Scratch {
  const refuse = (problem: string): VmError => new VmError('INVALID_ARGUMENT', problem, { field: 'scratch' });
  if (typeof spec !== 'object' || spec === null) throw refuse('scratch must be an object such as { sizeMiB: 2048 }');
  const { sizeMiB = defaultMiB, on = 'disk', keep = false } = spec;
  if (!(Number.isInteger(sizeMiB) && sizeMiB >= leastMiB && sizeMiB <= mostMiB))
    throw refuse(`scratch must be of ${leastMiB} to ${mostMiB} MiB, not ${JSON.stringify(sizeMiB)}`);
  if (on !== 'disk' && on !== 'memory') throw refuse(`scratch is on disk or in memory, not ${JSON.stringify(on)}`);
  if (typeof keep !== 'boolean') throw refuse('whether scratch is kept must be true or false');
  if (keep && on === 'memory') throw refuse('scratch in memory can not be kept: put it on disk');
  return { sizeMiB, on, keep, uuid: randomUUID() };
}

/**
 * What the guest's kernel line says of its layer.
 * @throws {VmError} INVALID_ARGUMENT when it leaves the guest no memory
 */
export function scratchParams({ sizeMiB, on, uuid }: Scratch, memoryMiB: number): Param[] {
  if (on === 'disk') return [{ key: scratchKey, value: `UUID=${uuid}` }];
  if (sizeMiB <= memoryMiB * memoryShare) return [{ key: scratchKey, value: `${sizeMiB}m` }];
  throw new VmError(
    'INVALID_ARGUMENT',
    `scratch of ${sizeMiB} MiB leaves too little of ${memoryMiB} MiB of memory: three quarters at most`,
    { field: 'scratch', advice: 'Give the VM more memory, or put scratch on disk: `--scratch 2G`.' },
  );
}

/** @throws {VmError} UNSUPPORTED for a VM whose files would go on under several guests */
export function refuseScratchDisk(scratch: Scratch | undefined, operation: string): void {
  if (scratch?.on !== 'disk') return;
  throw new VmError('UNSUPPORTED', `${operation} is of memory and devices: what the VM wrote is on its scratch disk`, {
    operation,
    advice:
      'Make the VM with scratch in memory (`--scratch memory:512M`), or make an image of it (`polyvisor commit`).',
  });
}
