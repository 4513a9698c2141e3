import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { aptAdvice } from './apt.ts';
import { describeBytes, sha256 } from './file-record.ts';
import { hostArchitecture } from './host-architecture.ts';
import { runTool } from './host-tool.ts';
import {
  defaultImageName,
  manifestVersion,
  type BuildEvent,
  type GuestImage,
  type ImageManifest,
  type PackageRecord,
} from './image.ts';
import { makeInitrd } from './initrd.ts';
import { unpackKernel } from './kernel.ts';
import { resolveModules } from './modules.ts';
import {
  obtainPackage,
  prunePackages,
  resolvePackages,
  unpackPackage,
  type BuildScope,
  type GuestPackages,
} from './packages.ts';
import { recipe, recipeHash } from './recipe.ts';
import { describeAgent, imageFolder, listImages, openScratch, storeImage } from './store.ts';

/** What a build is given. */
export interface BuildOptions {
  /** folder of all images; made when it isn't there */
  cacheFolder: string;
  /** the guest agent's program, for the guest's architecture */
  agentPath: string;
  onEvent?: ((event: BuildEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** make it again although it is there */
  force?: boolean | undefined;
}

/**
 * Makes the default guest from Debian packages and the agent, without root, unless the very same is in the cache. Equal packages and
 * an equal agent give equal bytes. Whatever ends the build, no half-made image is left; two builds at once don't disturb each other.
 * @throws {VmError} HOST_MISSING when apt or dpkg-deb is missing; FILE_NOT_FOUND when the agent is; UNSUPPORTED on an architecture without
 *   a default guest; ABORTED; IMAGE_BUILD_FAILED for the rest, with the tool's own words; IO
 */
export async function buildDefaultImage(options: BuildOptions): Promise<GuestImage> {
  const { cacheFolder, signal, force = false } = options;
  await describeAgent(options.agentPath);
  const agent = await readFile(options.agentPath);
  const scratch = await openScratch(cacheFolder).catch((cause: NodeJS.ErrnoException) => {
    throw new VmError('IO', `cannot write to ${cacheFolder}: ${cause.message}`, {
      path: cacheFolder,
      errno: cause.code,
      cause,
    });
  });
  const scope: BuildScope = { scratch, signal, report: (event) => options.onEvent?.(event) };
  try {
    const packages = await resolvePackages(scope);
    const known = await cached(cacheFolder, imageKey(packages, agent), force);
    const image = known ?? (await build(cacheFolder, packages, agent, scope, force));
    scope.report({ phase: 'done', message: image.folder });
    return image;
  } catch (reason) {
    throw VmError.from(reason, 'IMAGE_BUILD_FAILED', { operation: 'image build' });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Decides the image's content: all inputs, and what is done with them. */
function imageKey({ kernel, busybox }: GuestPackages, agent: Buffer): string {
  return sha256(
    JSON.stringify([manifestVersion, recipeHash, process.arch, kernel.sha256, busybox.sha256, sha256(agent)]),
  );
}

async function cached(cacheFolder: string, key: string, force: boolean): Promise<GuestImage | undefined> {
  if (force) return undefined;
  const folder = imageFolder(cacheFolder, defaultImageName, key);
  return (await listImages(cacheFolder)).find((image) => image.folder === folder && image.manifest.key === key);
}

async function build(
  cacheFolder: string,
  wanted: GuestPackages,
  agent: Buffer,
  scope: BuildScope,
  force: boolean,
): Promise<GuestImage> {
  const store = join(cacheFolder, '.packages');
  const { packages, kernelFile, busyboxFile } = await obtainBoth(wanted, store, scope);
  const kernelFolder = await unpackPackage(kernelFile, packages.kernel.name, scope);
  const busyboxFolder = await unpackPackage(busyboxFile, packages.busybox.name, scope);

  scope.report({ phase: 'initrd', message: 'putting the guest together' });
  const kernelRelease = await onlyEntry(join(kernelFolder, 'lib', 'modules'));
  const image = await readFile(join(kernelFolder, 'boot', `vmlinuz-${kernelRelease}`));
  const unpacked = unpackKernel(image);
  const kernel = unpacked ?? image;
  const moduleFolder = join(kernelFolder, 'lib', 'modules', kernelRelease);
  const decompress = (path: string): Promise<Buffer> => unpackXz(path, scope);
  const modules = await resolveModules(
    moduleFolder,
    [...recipe.bootModules, ...recipe.lateModules, ...recipe.otherModules],
    decompress,
  );
  const bootModules = (await resolveModules(moduleFolder, recipe.bootModules, decompress)).map(({ name }) => name);
  const busybox = join(busyboxFolder, 'bin', 'busybox');
  const initrd = makeInitrd({
    agent,
    busybox: await readFile(busybox),
    applets: await listApplets(busybox, scope),
    kernelRelease,
    modules,
    bootModules,
    lateModules: recipe.lateModules,
  });

  const manifest: ImageManifest = {
    schemaVersion: manifestVersion,
    name: defaultImageName,
    architecture: hostArchitecture().linux,
    key: imageKey(packages, agent),
    recipe: recipeHash,
    kernelRelease,
    kernelFormat: unpacked === undefined ? 'image' : 'elf',
    commandLine: [...recipe.commandLine],
    packages: [packages.kernel, packages.busybox].map(({ name, version, sha256: hash, size }): PackageRecord => ({
      name,
      version,
      sha256: hash,
      size,
    })),
    inputs: { agent: describeBytes(agent) },
    files: { kernel: describeBytes(kernel), initrd: describeBytes(initrd) },
    bootModules,
    otherModules: modules.map(({ name }) => name).filter((name) => !bootModules.includes(name)),
  };
  scope.report({ phase: 'store', message: 'storing the guest' });
  const made = join(scope.scratch, 'image');
  await mkdir(made, { mode: 0o700 });
  await writeDurably(join(made, 'kernel'), kernel);
  await writeDurably(join(made, 'initrd'), initrd);
  await writeDurably(join(made, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  scope.signal?.throwIfAborted();
  const stored = await storeImage(cacheFolder, made, manifest, force);
  await prunePackages(store, new Set([packages.kernel.sha256, packages.busybox.sha256]));
  return stored;
}

/** Gets both packages. The host's lists may be older than the mirror: then what they name is gone, and fresh lists know better. */
async function obtainBoth(
  wanted: GuestPackages,
  store: string,
  scope: BuildScope,
): Promise<{ packages: GuestPackages; kernelFile: string; busyboxFile: string }> {
  const obtain = async (
    packages: GuestPackages,
  ): Promise<{ packages: GuestPackages; kernelFile: string; busyboxFile: string }> => ({
    packages,
    kernelFile: await obtainPackage(packages.kernel, packages.lists, store, scope),
    busyboxFile: await obtainPackage(packages.busybox, packages.lists, store, scope),
  });
  try {
    return await obtain(wanted);
  } catch (reason) {
    if (!(reason instanceof VmError) || reason.code !== 'IMAGE_BUILD_FAILED' || wanted.lists.options.length > 0)
      throw reason;
    const fresh = await resolvePackages(scope, true).catch(() => undefined);
    scope.signal?.throwIfAborted();
    if (
      fresh === undefined ||
      (fresh.kernel.sha256 === wanted.kernel.sha256 && fresh.busybox.sha256 === wanted.busybox.sha256)
    )
      throw reason;
    return obtain(fresh);
  }
}

async function onlyEntry(folder: string): Promise<string> {
  const [name, ...others] = await readdir(folder);
  if (name === undefined || others.length > 0)
    throw new VmError('IMAGE_BUILD_FAILED', 'the kernel package holds not exactly one kernel');
  return name;
}

/** Asks the guest's busybox, which runs on the host as well: it is static and of the same architecture. */
async function listApplets(busybox: string, scope: BuildScope): Promise<string[]> {
  const { stdout, exitCode, errors } = await runTool(busybox, ['--list-full'], { signal: scope.signal });
  const applets = stdout.split('\n').filter((line) => /^(usr\/)?s?bin\/[^/]+$/.test(line));
  if (exitCode !== 0 || applets.length === 0)
    throw new VmError('IMAGE_BUILD_FAILED', 'busybox does not list its applets', { log: errors });
  return applets;
}

/** Debian compresses kernel modules from version 13 on. */
async function unpackXz(path: string, scope: BuildScope): Promise<Buffer> {
  const { exitCode, errors } = await runTool('xz', ['-d', '-k', path], { signal: scope.signal, advice: aptAdvice });
  if (exitCode !== 0)
    throw new VmError('IMAGE_BUILD_FAILED', `xz cannot unpack a module: ${errors.trim()}`, { exitCode });
  return readFile(path.replace(/\.xz$/, ''));
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
