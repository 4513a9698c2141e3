import { isAbsolute } from 'node:path';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import type { LandlockRule } from './wire.ts';

/*
 * `hypervisorParams` of Cloud Hypervisor: arguments of its own that may be given, and two words for what its VM's configuration has and no
 * other field says. All else is refused: an argument that describes the VM it takes only with a kernel on its command line, and it takes
 * none twice.
 */

/** Arguments that go to Cloud Hypervisor as they are: whether they have a value. */
const passedOn: Readonly<Record<string, boolean>> = {
  'log-format': true,
  gdb: true,
  'dbus-service-name': true,
  'dbus-object-path': true,
  'dbus-system-bus': false,
};

/** Words for the driver: what they are called on Cloud Hypervisor's command line. */
const words = { landlock: 'landlock', landlockRules: 'landlock-rules' } as const;

/** @throws {VmError} INVALID_CONFIG for an argument that is not passed on */
export function extraArgv({ hypervisorParams }: HypervisorConfig): string[] {
  return hypervisorParams.flatMap(({ key, value }) => {
    const name = key.replace(/^--/, '');
    if (name === words.landlock || name === words.landlockRules) return [];
    const hasValue = Object.hasOwn(passedOn, name) ? passedOn[name] : undefined;
    if (hasValue === undefined) throw refused(`Cloud Hypervisor's argument ${key} may not be given`);
    if (hasValue !== (value !== ''))
      throw refused(`Cloud Hypervisor's argument ${key} needs ${hasValue ? 'a' : 'no'} value`);
    return [`--${name}`, ...(hasValue ? [value] : [])];
  });
}

/**
 * What Cloud Hypervisor may open once it has its VM's configuration, beside what that names (`landlock-rules`, one or more, in its own
 * form: `path=/disks,access=rw`); undefined without Landlock. @throws {VmError} INVALID_CONFIG
 */
export function landlockRules({ hypervisorParams }: HypervisorConfig): LandlockRule[] | undefined {
  const given = (word: string): string[] =>
    hypervisorParams.filter(({ key }) => key.replace(/^--/, '') === word).map(({ value }) => value);
  const on = given(words.landlock);
  const rules = given(words.landlockRules).map(ruleOf);
  if (on.some((value) => value !== '')) throw refused(`${words.landlock} has no value`);
  if (on.length === 0 && rules.length > 0) throw refused(`${words.landlockRules} need ${words.landlock}`);
  return on.length === 0 ? undefined : rules;
}

function ruleOf(text: string): LandlockRule {
  const [, path = '', access = ''] = /^path=(.+),access=(r|rw)$/.exec(text) ?? [];
  if (!isAbsolute(path))
    throw refused(
      `${words.landlockRules} must be like path=/disks,access=rw (or r), with an absolute path, not ${text}`,
    );
  return { path, access: access === 'r' ? 'r' : 'rw' };
}

function refused(problem: string): VmError {
  return new VmError('INVALID_CONFIG', `hypervisorParams: ${problem}`, {
    field: 'hypervisorParams',
    advice: `Known are ${[...Object.keys(passedOn), ...Object.values(words)].join(', ')}.`,
  });
}
