import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { elfSections } from './elf.ts';
import { lightModule } from './module-file.ts';

/** A kernel module, as it goes into the guest. */
export interface KernelModule {
  /** with underscores, as the kernel shows it */
  name: string;
  /** path below `/lib/modules/<release>` */
  path: string;
  content: Buffer;
  /** names of the modules that must be loaded before */
  needs: string[];
  /** patterns by which the kernel asks for it */
  aliases: string[];
}

/** Module names are written with hyphens and underscores alike. */
export function moduleName(text: string): string {
  return text.replaceAll('-', '_');
}

/** Paths of all modules below `/lib/modules/<release>`, by name. */
export async function moduleIndex(folder: string): Promise<Map<string, string>> {
  const index = new Map<string, string>();
  for (const entry of await readdir(join(folder, 'kernel'), { recursive: true })) {
    const match = /([^/]+)\.ko(?:\.(?:xz|zst|gz))?$/.exec(entry);
    if (match?.[1] !== undefined) index.set(moduleName(match[1]), join('kernel', entry));
  }
  return index;
}

/**
 * The named modules and all that they need, each behind what it needs, in the order in which they are asked for. Names that the
 * kernel has built in (or lacks) are left out: which these are differs between kernels.
 * The needs are read from the modules themselves: the package has no modules.dep, which is made on installation.
 * @param decompress turns the content of a compressed module (.ko.xz, .ko.zst, .ko.gz) into the module
 * @throws {VmError} FILE_INVALID when a module is no module, or when modules need each other
 */
export async function resolveModules(
  folder: string,
  names: readonly string[],
  decompress: (path: string) => Promise<Buffer>,
): Promise<KernelModule[]> {
  const index = await moduleIndex(folder);
  const resolved = new Map<string, KernelModule>();
  const visit = async (name: string, above: readonly string[]): Promise<void> => {
    const path = index.get(name);
    if (path === undefined || resolved.has(name)) return;
    if (above.includes(name))
      throw new VmError('FILE_INVALID', `the kernel modules ${[...above, name].join(', ')} need each other`);
    const file = join(folder, path);
    const content = lightModule(path.endsWith('.ko') ? await readFile(file) : await decompress(file));
    const info = moduleInfo(content);
    const needs = [...list(info, 'depends', ','), ...preloads(info)].map(moduleName);
    for (const need of needs) await visit(need, [...above, name]);
    resolved.set(name, {
      name,
      path: path.replace(/\.ko\.[a-z]+$/, '.ko'),
      content,
      needs: needs.filter((need) => index.has(need)),
      aliases: info.filter(([key]) => key === 'alias').map(([, value]) => value),
    });
  };
  for (const name of names) await visit(moduleName(name), []);
  return [...resolved.values()];
}

/** The `key=value` pairs of a module's .modinfo section. */
function moduleInfo(content: Buffer): [key: string, value: string][] {
  const section = elfSections(content).find(({ name }) => name === '.modinfo');
  if (section === undefined) throw new VmError('FILE_INVALID', 'a kernel module has no .modinfo section');
  const pairs: [string, string][] = [];
  for (const line of section.data.toString('latin1').split('\0')) {
    const at = line.indexOf('=');
    if (at > 0) pairs.push([line.slice(0, at), line.slice(at + 1)]);
  }
  return pairs;
}

function list(info: readonly [string, string][], wanted: string, separator: string): string[] {
  return info
    .filter(([key]) => key === wanted)
    .flatMap(([, value]) => value.split(separator).filter((item) => item !== ''));
}

/** `softdep=pre: a b post: c` asks for a and b before. */
function preloads(info: readonly [string, string][]): string[] {
  return list(info, 'softdep', '\n').flatMap(
    (value) => /pre:\s*((?:(?!\w+:)\S+\s*)*)/.exec(value)?.[1]?.split(/\s+/).filter(Boolean) ?? [],
  );
}
