import { constants } from 'node:os';
import type { VmSummary } from '../sandbox/inspect.ts';
import { age } from './units.ts';

type Ending = VmSummary['ended'];

/** How a VM ended as one number, as a shell has it: the VMM's exit code, or 128+n; undefined when nobody saw it. */
export function exitCodeOfVm(ended: Ending): number | undefined {
  if (ended?.signal === undefined) return ended?.exitCode;
  const number = constants.signals[ended.signal as NodeJS.Signals] as number | undefined;
  return number === undefined ? undefined : 128 + number;
}

/** A VM's status with what is to be known of it: `stopped (guest shutdown) 3m ago`, `running (frozen)`. */
export function statusText({ status, ended, frozen }: VmSummary, now?: number): string {
  if (frozen === true) return `${status} (frozen)`;
  if (ended === undefined || (status !== 'stopped' && status !== 'failed')) return status;
  const { reason, signal, exitCode, at } = ended;
  if (reason === 'stopped') return `${status} ${age(at, now)} ago`;
  const how =
    reason?.replace(/:.*/s, '').replaceAll('-', ' ') ?? signal ?? (exitCode === undefined ? '' : `exit ${exitCode}`);
  const since = age(at, now);
  return [status, how === '' ? '' : `(${how})`, since === '' ? '' : `${since} ago`]
    .filter((part) => part !== '')
    .join(' ');
}
