import { plain } from '../toml/values.ts';
import type { TomlEntry } from '../toml/document.ts';

/** The section `[factory]`: VMs that are kept ready. */
export interface KataFactory {
  /** VMs are cloned from a template; default false */
  readonly template: boolean;
  /** folder of the template */
  readonly templatePath: string;
  /** VMs that are kept ready; default 0 */
  readonly cacheNumber: number;
  /** socket of the program that keeps them */
  readonly cacheEndpoint: string;
}

/** Kata's defaults. */
export const defaultFactory: KataFactory = {
  template: false,
  templatePath: '/run/vc/vm/template',
  cacheNumber: 0,
  cacheEndpoint: '/var/run/kata-containers/cache.sock',
};

interface FactoryKey {
  readonly name: keyof KataFactory;
  readonly kind: 'boolean' | 'string' | 'integer';
  /** what the value must be, in words */
  readonly allowed: string;
}

const keys: ReadonlyMap<string, FactoryKey> = new Map<string, FactoryKey>([
  ['enable_template', { name: 'template', kind: 'boolean', allowed: 'true or false' }],
  ['template_path', { name: 'templatePath', kind: 'string', allowed: 'text' }],
  ['vm_cache_number', { name: 'cacheNumber', kind: 'integer', allowed: 'a whole number from 0 to 4294967295' }],
  ['vm_cache_endpoint', { name: 'cacheEndpoint', kind: 'string', allowed: 'text' }],
]);

/** What a key of the factory's section says; undefined when it is none. */
export function factoryValue(
  key: string,
  { value }: TomlEntry,
): { name: keyof KataFactory; value?: unknown; allowed?: string } | undefined {
  const known = keys.get(key);
  if (known === undefined) return undefined;
  const { name, kind, allowed } = known;
  const fits =
    value.kind === kind && (kind !== 'integer' || (Number(value.value) >= 0 && Number(value.value) < 2 ** 32));
  if (!fits) return { name, allowed };
  // As elsewhere in Kata's file, an empty text stands for the default.
  return value.value === '' ? { name } : { name, value: plain(value) };
}
