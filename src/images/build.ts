import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestArch } from '../config/host.ts';
import { VmError } from '../errors.ts';
import { assembleGuest } from './assemble.ts';
import { sha256 } from './file-record.ts';
import { architectureOf } from './host-architecture.ts';
import { defaultGuestName, manifestVersion, type BuildEvent, type GuestImage, type PackageRecord } from './image.ts';
import { unpackKernel } from './kernel.ts';
import { checkedMirror, type MirrorOptions, mirrorOfEnvironment } from './mirror/mirror.ts';
import {
  obtainPackage,
  prunePackages,
  resolvePackages,
  unpackPackage,
  type BuildScope,
  type GuestPackages,
} from './packages.ts';
import { recipeHash } from './recipe.ts';
import { cachedImage, describeAgent, openScratch } from './store.ts';

/** What a build is given. */
export interface BuildOptions {
  /** folder of all images; made when it isn't there */
  cacheFolder: string;
  /** the guest agent's program, for the guest's architecture */
  agentPath: string;
  /** architecture of the guest, where it is not the host's; its image is called `default-ARCH` */
  arch?: GuestArch | undefined;
  onEvent?: ((event: BuildEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** make it again although it is there */
  force?: boolean | undefined;
  /**
   * take the packages from a mirror by HTTPS, and not by the host's apt; default: what `POLYVISOR_MIRROR` says, else apt, and a mirror where there is
   * no apt
   */
  mirror?: MirrorOptions | undefined;
}

/**
 * Makes the default guest from Debian packages and the agent, without root, unless the very same is in the cache. Equal packages and
 * an equal agent give equal bytes. Whatever ends the build, no half-made image is left; two builds at once don't disturb each other.
 * @throws {VmError} HOST_MISSING when apt is missing and a mirror could not be trusted, or a tool to unpack; INVALID_ARGUMENT; TIMEOUT; FILE_NOT_FOUND when the agent is; UNSUPPORTED on an architecture without
 *   a default guest; ABORTED; IMAGE_BUILD_FAILED for the rest, with the tool's own words; IO
 */
export async function buildDefaultImage(options: BuildOptions): Promise<GuestImage> {
  const { cacheFolder, signal, force = false } = options;
  const mirror = checkedMirror(options.mirror ?? mirrorOfEnvironment());
  await describeAgent(options.agentPath);
  const agent = await readFile(options.agentPath);
  const scratch = await openScratch(cacheFolder).catch((cause: NodeJS.ErrnoException) => {
    throw new VmError('IO', `cannot write to ${cacheFolder}: ${cause.message}`, {
      path: cacheFolder,
      errno: cause.code,
      cause,
    });
  });
  const scope: BuildScope = { scratch, signal, mirror, report: (event) => options.onEvent?.(event) };
  try {
    const packages = await resolvePackages(scope, options.arch);
    const guest = { name: defaultGuestName(options.arch), arch: options.arch, agent };
    const known = force ? undefined : await cachedImage(cacheFolder, guest.name, imageKey(packages, guest));
    const image = known ?? (await build(cacheFolder, packages, guest, scope, force));
    scope.report({ phase: 'done', message: image.folder });
    return image;
  } catch (reason) {
    throw VmError.from(reason, 'IMAGE_BUILD_FAILED', { operation: 'image build' });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The guest that is built. */
interface WantedGuest {
  name: string;
  arch: GuestArch | undefined;
  agent: Buffer;
}

/** Decides the image's content: all inputs, and what is done with them. */
function imageKey({ kernel, busybox, ownBusybox }: GuestPackages, { arch, agent }: WantedGuest): string {
  const parts = [manifestVersion, recipeHash, architectureOf(arch).node, kernel.sha256, busybox.sha256, sha256(agent)];
  return sha256(JSON.stringify(ownBusybox === undefined ? parts : [...parts, ownBusybox.package.sha256]));
}

async function build(
  cacheFolder: string,
  wanted: GuestPackages,
  guest: WantedGuest,
  scope: BuildScope,
  force: boolean,
): Promise<GuestImage> {
  // One for each architecture: what one build needs no more, another may.
  const store = join(cacheFolder, guest.arch === undefined ? '.packages' : `.packages-${guest.arch}`);
  const { packages, kernelFile, busyboxFile } = await obtainBoth(wanted, store, scope);
  const kernelFolder = await unpackPackage(kernelFile, packages.kernel.name, scope);
  const busyboxFolder = await unpackPackage(busyboxFile, packages.busybox.name, scope);
  const own = packages.ownBusybox;
  const ownFile = own && (await obtainPackage(own.package, own.source, store, scope));
  const ownFolder = ownFile && (await unpackPackage(ownFile, packages.busybox.name, scope));

  const modules = await firstThere(kernelFolder, 'usr/lib/modules', 'lib/modules');
  const kernelRelease = await onlyEntry(modules);
  const image = await readFile(join(kernelFolder, 'boot', `vmlinuz-${kernelRelease}`));
  const records = [packages.kernel, packages.busybox].map(({ name, version, sha256: hash, size }): PackageRecord => ({
    name,
    version,
    sha256: hash,
    size,
  }));
  const parts = {
    name: guest.name,
    arch: guest.arch,
    key: imageKey(packages, guest),
    kernel: { image, elf: unpackKernel(image), release: kernelRelease },
    moduleFolder: join(modules, kernelRelease),
    busybox: await busyboxIn(busyboxFolder),
    ...(ownFolder === undefined ? {} : { ownBusybox: await busyboxIn(ownFolder) }),
    agent: guest.agent,
    packages: records,
  };
  const stored = await assembleGuest(cacheFolder, parts, scope, force);
  const used = [packages.kernel, packages.busybox, ...(own === undefined ? [] : [own.package])];
  await prunePackages(store, new Set(used.map(({ sha256: hash }) => hash)));
  return stored;
}

function busyboxIn(folder: string): Promise<string> {
  return firstThere(folder, 'usr/bin/busybox', 'bin/busybox');
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
    kernelFile: await obtainPackage(packages.kernel, packages.source, store, scope),
    busyboxFile: await obtainPackage(packages.busybox, packages.source, store, scope),
  });
  try {
    return await obtain(wanted);
  } catch (reason) {
    if (!(reason instanceof VmError) || reason.code !== 'IMAGE_BUILD_FAILED' || !wanted.source.mayBeOld) throw reason;
    const fresh = await resolvePackages(scope, undefined, true).catch(() => undefined);
    scope.signal?.throwIfAborted();
    if (
      fresh === undefined ||
      (fresh.kernel.sha256 === wanted.kernel.sha256 && fresh.busybox.sha256 === wanted.busybox.sha256)
    )
      throw reason;
    return obtain(fresh);
  }
}

/** Since Debian 13 packages have below `usr` what they had beside it. @throws {VmError} IMAGE_BUILD_FAILED */
async function firstThere(folder: string, ...places: string[]): Promise<string> {
  for (const place of places) {
    const path = join(folder, place);
    if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  }
  throw new VmError('IMAGE_BUILD_FAILED', `the package holds no ${places.join(' and no ')}`);
}

async function onlyEntry(folder: string): Promise<string> {
  const [name, ...others] = await readdir(folder);
  if (name === undefined || others.length > 0)
    throw new VmError('IMAGE_BUILD_FAILED', 'the kernel package holds not exactly one kernel');
  return name;
}
