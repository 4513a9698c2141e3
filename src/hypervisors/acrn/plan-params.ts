import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';

/*
 * `hypervisorParams` of ACRN: arguments of acrn-dm that may be given as they are, and one word for the driver. All else is
 * refused, since acrn-dm takes the last of two that say different things.
 */

/** Arguments that go to acrn-dm: whether they have a value. */
const passedOn: Readonly<Record<string, boolean>> = {
  virtio_poll: true,
  virtio_msi: false,
  lapic_pt: false,
  rtvm: false,
};

/** LAPIC ids of the CPUs that the vCPUs run on. */
const affinity = 'cpu_affinity';

/** @throws {VmError} INVALID_CONFIG for an argument that is not passed on */
export function extraArgv({ hypervisorParams }: HypervisorConfig): string[] {
  return hypervisorParams.flatMap(({ key, value }) => {
    const name = key.replace(/^--/, '');
    if (name === affinity) return [];
    const hasValue = passedOn[name];
    if (hasValue === undefined) throw refused(`acrn-dm's argument ${key} may not be given`);
    if (hasValue !== (value !== '')) throw refused(`acrn-dm's argument ${key} needs ${hasValue ? 'a' : 'no'} value`);
    return [`--${name}`, ...(hasValue ? [value] : [])];
  });
}

/** The LAPIC ids that the configuration names; undefined when it leaves them to the driver. @throws {VmError} INVALID_CONFIG */
export function chosenLapicIds({ hypervisorParams, vcpus }: HypervisorConfig): number[] | undefined {
  const text = hypervisorParams.findLast(({ key }) => key.replace(/^--/, '') === affinity)?.value;
  if (text === undefined) return undefined;
  if (!/^\d{1,9}(,\d{1,9})*$/.test(text))
    throw refused(`${affinity} must be LAPIC ids with commas between them, not ${text}`);
  const ids = text.split(',').map(Number);
  if (new Set(ids).size !== ids.length) throw refused(`${affinity} names a CPU twice: ${text}`);
  if (ids.length !== vcpus) throw refused(`${affinity} names ${ids.length} CPUs for ${vcpus} vCPUs: each needs one`);
  return ids;
}

function refused(problem: string): VmError {
  return new VmError('INVALID_CONFIG', `hypervisorParams: ${problem}`, {
    field: 'hypervisorParams',
    advice: `Known are ${[...Object.keys(passedOn), affinity].join(', ')}.`,
  });
}
