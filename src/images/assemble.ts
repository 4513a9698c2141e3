import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestArch } from '../config/host.ts';
import { VmError } from '../errors.ts';
import { describeBytes } from './file-record.ts';
import { architectureOf } from './host-architecture.ts';
import { runTool } from './host-tool.ts';
import { type GuestImage, type ImageManifest, manifestVersion, type PackageRecord } from './image.ts';
import { makeInitrd } from './initrd.ts';
import { resolveModules } from './modules.ts';
import type { BuildScope } from './packages.ts';
import { recipe, recipeHash } from './recipe.ts';
import { storeImage } from './store.ts';
import { unpackFile } from './unpack-file.ts';

/** What a guest is put together from. */
export interface GuestParts {
  name: string;
  /** default: the host's */
  arch?: GuestArch | undefined;
  /** stands for everything else that is here */
  key: string;
  kernel: {
    /** as it is distributed */
    image: Buffer;
    /** the ELF kernel that was in it, if there is one */
    elf: Buffer | undefined;
    release: string;
  };
  /** `/lib/modules/<release>` of that kernel */
  moduleFolder: string;
  /** path of a static busybox for this architecture */
  busybox: string;
  /** path of one with the same applets that runs on this host, where that one does not */
  ownBusybox?: string | undefined;
  agent: Buffer;
  /** the packages that it comes from */
  packages: PackageRecord[];
}

/**
 * Puts a guest together by the recipe and stores it. Equal parts give equal bytes.
 * @param replace although one with that key is there
 * @throws {VmError} IMAGE_BUILD_FAILED, FILE_INVALID, HOST_MISSING, IO, ABORTED
 */
export async function assembleGuest(
  cacheFolder: string,
  parts: GuestParts,
  scope: BuildScope,
  replace: boolean,
): Promise<GuestImage> {
  scope.report({ phase: 'initrd', message: 'putting the guest together' });
  const { agent, moduleFolder, kernel } = parts;
  const { linux, debian } = architectureOf(parts.arch);
  const busybox = await readFile(parts.busybox);
  const applets = await listApplets(parts.ownBusybox ?? parts.busybox, scope);
  const decompress = (path: string): Promise<Buffer> => unpackFile(path, scope);
  const names = [...recipe.bootModules, ...recipe.lateModules, ...recipe.otherModules];
  const modules = await resolveModules(moduleFolder, names, decompress);
  const bootModules = (await resolveModules(moduleFolder, recipe.bootModules, decompress)).map(({ name }) => name);
  const initrd = makeInitrd({
    agent,
    busybox,
    applets: parts.ownBusybox === undefined ? applets : applets.filter((applet) => isIn(busybox, applet)),
    kernelRelease: kernel.release,
    modules,
    bootModules,
    lateModules: recipe.lateModules,
  });
  const booted = kernel.elf ?? kernel.image;
  const manifest: ImageManifest = {
    schemaVersion: manifestVersion,
    name: parts.name,
    architecture: linux,
    key: parts.key,
    recipe: recipeHash,
    kernelRelease: kernel.release,
    kernelFormat: kernel.elf === undefined ? 'image' : 'elf',
    commandLine: [...recipe.commandLine, ...recipe.commandLineOf[debian]],
    packages: parts.packages,
    inputs: { agent: describeBytes(agent) },
    files: {
      kernel: describeBytes(booted),
      initrd: describeBytes(initrd),
      ...(kernel.elf === undefined ? {} : { bzImage: describeBytes(kernel.image) }),
    },
    bootModules,
    otherModules: modules.map(({ name }) => name).filter((name) => !bootModules.includes(name)),
  };
  scope.report({ phase: 'store', message: 'storing the guest' });
  const made = join(scope.scratch, 'image');
  await mkdir(made, { mode: 0o700 });
  await writeDurably(join(made, 'kernel'), booted);
  await writeDurably(join(made, 'initrd'), initrd);
  if (kernel.elf !== undefined) await writeDurably(join(made, 'bzImage'), kernel.image);
  await writeDurably(join(made, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  scope.signal?.throwIfAborted();
  return storeImage(cacheFolder, made, manifest, replace);
}

/** Asks the guest's busybox, which runs on the host as well, being static, or one with the same applets. */
async function listApplets(busybox: string, scope: BuildScope): Promise<string[]> {
  const { stdout, exitCode, errors } = await runTool(busybox, ['--list-full'], { signal: scope.signal });
  const applets = stdout.split('\n').filter((line) => /^(usr\/)?s?bin\/[^/]+$/.test(line));
  if (exitCode !== 0 || applets.length === 0)
    throw new VmError('IMAGE_BUILD_FAILED', 'busybox does not list its applets', { log: errors });
  return applets;
}

/** Whether an applet's name is among a busybox' own texts. */
function isIn(busybox: Buffer, applet: string): boolean {
  return busybox.includes(`\0${applet.slice(applet.lastIndexOf('/') + 1)}\0`);
}

async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  // Readable to all who get there, which is nobody (the folder is ours alone) but a VMM under a uid of its own that is shown it.
  const file = await open(path, 'wx', 0o644);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}
