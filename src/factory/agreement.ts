import { isDeepStrictEqual } from 'node:util';
import { configFieldNames } from '../config/config-fields.ts';
import { show } from '../config/show.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { TemplateManifest } from './template-manifest.ts';

/** What a clone is asked to be, beside its name. What is absent is the template's. */
export interface CloneWish {
  hypervisor?: string | undefined;
  accel?: 'auto' | 'kvm' | 'tcg' | undefined;
  config: VmConfigInput;
}

/** What a clone gets by hot-plug, once it runs. */
export interface MadeUp {
  vcpus?: number | undefined;
  memoryMiB?: number | undefined;
}

/** Characters of a value in a message. */
const mostShown = 120;

/** Sizes that can be made up for: a clone has as much as the template at least. */
const sizes = ['vcpus', 'memoryMiB'] as const;

/**
 * Compares what a clone is to be with its template. Pure.
 * @returns what has to be plugged into the clone
 * @throws {VmError} INVALID_CONFIG naming every difference that can't be made up for
 */
export function agree(template: TemplateManifest, wish: CloneWish): MadeUp {
  const { config, given } = template;
  const problems: { field: string; message: string }[] = [];
  const differ = (field: string, wanted: unknown, has: unknown): void => {
    problems.push({ field, message: `${field} is ${shown(wanted)}, and the template's is ${shown(has)}` });
  };
  if (wish.hypervisor !== undefined && wish.hypervisor !== template.hypervisor)
    differ('hypervisor', wish.hypervisor, template.hypervisor);
  const { accel = 'auto', ...rest } = { accel: wish.accel, ...wish.config };
  if (accel !== 'auto' && accel !== template.accel) differ('accel', accel, template.accel);
  const made: MadeUp = {};
  for (const size of sizes) {
    const [wanted, has] = [rest[size], config[size]];
    if (wanted === undefined || wanted === has) continue;
    if (wanted > has && (size !== 'vcpus' || wanted <= config.maxVcpus)) made[size] = wanted;
    else if (wanted < has) differ(size, wanted, has);
    else
      problems.push({
        field: size,
        message: `${size} is ${wanted}, and the template's can grow to ${config.maxVcpus}`,
      });
  }
  for (const field of configFieldNames) {
    if (field === 'accel' || field === 'vcpus' || field === 'memoryMiB') continue;
    const wanted = rest[field];
    // The guest image puts its own parameters before those that were given.
    const has = field === 'kernelParams' ? (given.kernelParams ?? []) : config[field];
    if (wanted !== undefined && !isDeepStrictEqual(wanted, has)) differ(field, wanted, has);
  }
  if (problems.length === 0) return made;
  throw new VmError(
    'INVALID_CONFIG',
    `a clone can't differ so from the template ${template.name}: ${problems.map(({ message }) => message).join('; ')}`,
    {
      name: template.name,
      field: problems[0]?.field,
      advice: 'Leave out what differs, or make a template that has it. Only vCPUs and memory may be more.',
    },
  );
}

/** Lists and objects of a configuration as JSON: what is in them is what differs. */
function shown(value: unknown): string {
  if (typeof value !== 'object' || value === null) return show(value);
  const text = JSON.stringify(value).replaceAll(/\p{C}/gu, '?');
  return text.length > mostShown ? `${text.slice(0, mostShown)}...` : text;
}
