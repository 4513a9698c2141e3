import { cpioArchive, type CpioEntry } from './cpio.ts';
import type { KernelModule } from './modules.ts';
import { recipe } from './recipe.ts';

/** What goes into an initrd. */
export interface InitrdParts {
  agent: Uint8Array;
  busybox: Uint8Array;
  /** paths of busybox' applets, such as `usr/bin/env` */
  applets: readonly string[];
  kernelRelease: string;
  modules: readonly KernelModule[];
  /** names of those that the agent loads at once */
  bootModules: readonly string[];
  /** names of drivers that it doesn't load in the guest's first second */
  lateModules: readonly string[];
}

/** The default guest's initrd: the agent as init, busybox, modules, and what a program expects of a root file system. */
export function makeInitrd(parts: InitrdParts): Buffer {
  const moduleFolder = `lib/modules/${parts.kernelRelease}`;
  const paths = new Map(parts.modules.map((module) => [module.name, `/${moduleFolder}/${module.path}`]));
  const entries: CpioEntry[] = [
    ...recipe.folders.map(([path, mode]): CpioEntry => ({ type: 'directory', path, mode })),
    ...recipe.texts.map(([path, content]) => text(path, content)),
    // The kernel opens it for init before anything is mounted on /dev.
    { type: 'character', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'character', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    { type: 'file', path: 'init', mode: 0o755, content: parts.agent },
    { type: 'file', path: 'bin/busybox', mode: 0o755, content: parts.busybox },
    ...parts.applets
      .filter((path) => path !== 'bin/busybox')
      .map((path): CpioEntry => ({ type: 'symlink', path, target: '/bin/busybox' })),
    text('etc/polyvisor/modules', lines(parts.bootModules.map((name) => paths.get(name) ?? ''))),
    text('etc/polyvisor/modules.late', lines(parts.lateModules)),
    ...parents(
      parts.modules.map((module) => `${moduleFolder}/${module.path}`),
      'lib',
    ),
    ...parts.modules.map((module): CpioEntry => ({
      type: 'file',
      path: `${moduleFolder}/${module.path}`,
      mode: 0o644,
      content: module.content,
    })),
    text(`${moduleFolder}/modules.dep`, lines(parts.modules.map((module) => dependencyLine(module, parts.modules)))),
    text(
      `${moduleFolder}/modules.alias`,
      lines(parts.modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}`))),
    ),
  ];
  return cpioArchive(entries);
}

function text(path: string, content: string): CpioEntry {
  return { type: 'file', path, mode: 0o644, content: Buffer.from(content) };
}

function lines(items: readonly string[]): string {
  return items.map((item) => `${item}\n`).join('');
}

/** A line of modules.dep: all that must be loaded before, the nearest first (depmod(8)). */
function dependencyLine(module: KernelModule, all: readonly KernelModule[]): string {
  const needed = new Set<string>();
  const collect = (names: readonly string[]): void => {
    for (const name of names) {
      if (needed.has(name)) continue;
      needed.add(name);
      collect(all.find((other) => other.name === name)?.needs ?? []);
    }
  };
  collect(module.needs);
  // `all` is in loading order, so its reverse has each module in front of what it needs.
  const before = all.filter(({ name }) => needed.has(name)).reverse();
  return `${module.path}:${before.map(({ path }) => ` ${path}`).join('')}`;
}

/** The folders that the paths are in, below `root`, which is there. */
function parents(paths: readonly string[], root: string): CpioEntry[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const names = path.split('/');
    for (let count = names.length - 1; count > 0; count--) folders.add(names.slice(0, count).join('/'));
  }
  return [...folders]
    .filter((path) => path.startsWith(`${root}/`))
    .map((path) => ({ type: 'directory', path, mode: 0o755 }));
}
