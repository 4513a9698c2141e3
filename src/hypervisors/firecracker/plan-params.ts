import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';

/*
 * `hypervisorParams` of Firecracker: arguments of its own that may be given, and three words for what its API has and no other field
 * says. All else is refused: the driver could not keep its word with `--no-api` or `--no-seccomp`.
 */

/** Arguments that go to Firecracker as they are: whether they have a value. */
const passedOn: Readonly<Record<string, boolean>> = {
  'boot-timer': false,
  'http-api-max-payload-size': true,
  'mmds-size-limit': true,
  'seccomp-filter': true,
};

/** Words for the driver. */
const words = { mmds: 'mmds', trackDirtyPages: 'track-dirty-pages' } as const;

/** @throws {VmError} INVALID_CONFIG for an argument that is not passed on */
export function extraArgv({ hypervisorParams, jailerPath }: HypervisorConfig): string[] {
  return hypervisorParams.flatMap(({ key, value }) => {
    const name = key.replace(/^--/, '');
    if (name === words.mmds || name === words.trackDirtyPages) return [];
    const hasValue = passedOn[name];
    if (hasValue === undefined) throw refused(`Firecracker's argument ${key} may not be given`);
    if (hasValue !== (value !== ''))
      throw refused(`Firecracker's argument ${key} needs ${hasValue ? 'a' : 'no'} value`);
    if (name === 'seccomp-filter' && jailerPath !== undefined)
      throw refused('a seccomp filter of your own would be outside the jail');
    return [`--${name}`, ...(hasValue ? [value] : [])];
  });
}

/** What the guest's metadata service serves (`mmds`, a JSON object); undefined without one. @throws {VmError} INVALID_CONFIG */
export function mmdsContent({ hypervisorParams }: HypervisorConfig): object | undefined {
  const text = hypervisorParams.find(({ key }) => key === words.mmds)?.value;
  if (text === undefined) return undefined;
  try {
    const content: unknown = JSON.parse(text);
    if (typeof content === 'object' && content !== null && !Array.isArray(content)) return content;
  } catch (error) {
    throw refused('mmds is not JSON', error);
  }
  throw refused('mmds must be a JSON object');
}

/** Whether KVM keeps track of what the guest writes, for snapshots that build on one another (`track-dirty-pages`). */
export function tracksDirtyPages({ hypervisorParams }: HypervisorConfig): boolean {
  return hypervisorParams.some(({ key }) => key === words.trackDirtyPages);
}

function refused(problem: string, cause?: unknown): VmError {
  return new VmError('INVALID_CONFIG', `hypervisorParams: ${problem}`, {
    field: 'hypervisorParams',
    advice: `Known are ${[...Object.keys(passedOn), ...Object.values(words)].join(', ')}.`,
    cause,
  });
}
