import { completeConfig } from '../config/complete.ts';
import { configFieldNames } from '../config/config-fields.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import type { Origin, Origins } from '../config/origin.ts';
import { agentBinary } from '../config/package-files.ts';
import { parseConfig } from '../config/parse.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { fileOptions } from './own-options.ts';

/** An option with its value and where that comes from. */
export interface EffectiveOption {
  readonly name: string;
  readonly value: unknown;
  readonly origin: Origin;
}

/**
 * Every option that has a value once the defaults are filled in. What the default guest sets is left out: it is known only when
 * that is built.
 * @throws {VmError} INVALID_CONFIG as Vm.create, UNSUPPORTED when there is no driver
 */
export async function effectiveOptions(
  options: Readonly<Record<string, unknown>>,
  origins: Origins,
  host?: HostFacts,
): Promise<EffectiveOption[]> {
  const hypervisor = parseHypervisorType(options['hypervisor'] ?? 'qemu');
  const { fields } = await loadDriver(hypervisor);
  const isField = (name: string): boolean => configFieldNames.some((it) => it === name);
  const input = parseConfig(Object.fromEntries(Object.entries(options).filter(([name]) => isField(name))));
  const hasGuest = [input.kernel, input.initrd, input.image, input.customAssets].some((it) => it !== undefined);
  const guest = hasGuest ? {} : { kernel: agentBinary, initrd: agentBinary };
  const facts = { fields, host: host ?? (await readHostFacts()) };
  const values: Record<string, unknown> = { ...options, ...completeConfig({ ...guest, ...input }, facts), hypervisor };
  if (!hasGuest) for (const name of ['kernel', 'initrd']) delete values[name];
  const names = new Set([...fileOptions.map(({ name }) => name), ...Object.keys(options)]);
  return [...names].flatMap((name) => {
    const value = values[name];
    if (value === undefined) return [];
    const isOfVmm = configFieldNames.some((it) => it === name && fields.defaults?.[it] !== undefined);
    const origin = origins.get(name) ?? { kind: 'default', ...(isOfVmm ? { of: hypervisor } : {}) };
    return [{ name, value, origin }];
  });
}
