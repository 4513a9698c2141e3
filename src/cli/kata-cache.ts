import { configFieldNames } from '../config/config-fields.ts';
import { VmError } from '../errors.ts';
import type { Vm } from '../sandbox/vm.ts';
import { givenConfig } from '../sandbox/given-config.ts';
import { splitOptions } from '../sandbox/vm-options.ts';
import { cacheEndpoint, places } from '../state/paths.ts';
import type { SettledOptions } from './vm-settings.ts';

/** Where Kata's own server listens: ours has a place of its own, as its templates have. */
const kataEndpoint = '/var/run/kata-containers/cache.sock';

/** The cache that Kata's file asks for. */
export interface KataCache {
  /** VMs that stand ready */
  readonly cache: number;
  /** socket of its server */
  readonly endpoint: string;
}

/** Undefined when the file asks for none. */
export function kataCache({ settings: { factory } }: SettledOptions): KataCache | undefined {
  if (factory === undefined || factory.cacheNumber === 0) return undefined;
  const { cacheNumber: cache, cacheEndpoint: given } = factory;
  return { cache, endpoint: given === kataEndpoint ? cacheEndpoint(places()) : given };
}

interface Taking {
  readonly name?: string | undefined;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number | undefined;
}

/**
 * A VM of the cache that Kata's file asks for. As with Kata, one is made when the cache can't be asked, or keeps others.
 * @param tell hears why none is taken
 * @returns undefined when none is taken
 * @throws {VmError} what taking one fails with
 */
export async function takeOfKata(
  settled: SettledOptions,
  { name, ...call }: Taking,
  tell: (why: string) => void,
): Promise<Vm | undefined> {
  const asked = kataCache(settled);
  if (asked === undefined) return undefined;
  const { endpoint } = asked;
  const [{ CacheClient }, { differencesOf, parseKept }, { Vm }] = await Promise.all([
    import('../factory/cache-client.ts'),
    import('../factory/kept-machine.ts'),
    import('../sandbox/vm.ts'),
  ]);
  try {
    const kept = parseKept((await new CacheClient(endpoint).config(call)).Data);
    const { hypervisor, config } = splitOptions(settled.options);
    const { input } = await givenConfig(config, places());
    const other = [...differencesOf(kept, { ...input, hypervisor }), ...beside(settled)];
    if (other.length > 0) {
      tell(`the cache of this file is not asked: its VMs differ in ${[...new Set(other)].join(', ')}`);
      return undefined;
    }
  } catch (error) {
    if (VmError.from(error).code !== 'NOT_FOUND') throw error;
    tell(`the cache of this file is not asked: no server answers on ${endpoint}; \`factory init --config\` starts it`);
    return undefined;
  }
  return (await Vm.factory({ endpoint })).getVm({ name, ...call });
}

/** What the command line says of a VM beside its configuration: one that stands ready has it not. */
function beside({ options }: SettledOptions): string[] {
  const others = ['accel', 'confinement', 'cpuLimit', 'devices', 'networkNamespace', 'scratch'] as const;
  const known = new Set<string>(configFieldNames);
  return others.filter((option) => !known.has(option) && options[option] !== undefined);
}
