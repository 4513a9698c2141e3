import { allowedValues } from '../config/describe-type.ts';
import { configFields } from '../config/config-fields.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import type { Origin } from '../config/origin.ts';
import { show } from '../config/show.ts';
import { parseSizeMiB } from '../config/units.ts';
import { VmError } from '../errors.ts';
import type { FileSettings } from './own-file.ts';

/** Variables of the environment, and what each sets. An empty one sets nothing. */
const variables: readonly { name: string; option: string; read: (text: string) => unknown }[] = [
  { name: 'POLYVISOR_HYPERVISOR', option: 'hypervisor', read: parseHypervisorType },
  { name: 'POLYVISOR_ACCEL', option: 'accel', read: choiceOf('accel') },
  { name: 'POLYVISOR_MEMORY', option: 'memoryMiB', read: parseSizeMiB },
  { name: 'POLYVISOR_CPUS', option: 'vcpus', read: wholeNumber },
];

/**
 * The options that the environment sets.
 * @throws {VmError} INVALID_CONFIG naming the variable
 */
export function environmentSettings(env: NodeJS.ProcessEnv): FileSettings {
  const options: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  for (const { name, option, read } of variables) {
    const text = env[name];
    if (text === undefined || text === '') continue;
    try {
      options[option] = read(text);
    } catch (error) {
      throw new VmError('INVALID_CONFIG', `${name}: ${VmError.from(error).rawMessage}`, { field: option });
    }
    origins.set(option, { kind: 'environment', name });
  }
  return { options, origins };
}

function choiceOf(field: 'accel'): (text: string) => string {
  return (text) => {
    const { type } = configFields[field];
    if (type.kind === 'choice' && type.values.includes(text)) return text;
    throw new VmError('INVALID_CONFIG', `${show(text)}, allowed is ${allowedValues(configFields[field])}`);
  };
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new VmError('INVALID_CONFIG', `${show(text)} is no number of vCPUs`);
}
