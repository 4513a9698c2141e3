import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestArch } from '../config/host.ts';
import { VmError } from '../errors.ts';
import { freshSource, hostSource } from './apt.ts';
import { unpackDeb } from './deb.ts';
import { describeFile } from './file-record.ts';
import { architectureOf } from './host-architecture.ts';
import type { BuildEvent } from './image.ts';
import { type MirrorOptions, openMirror } from './mirror/mirror.ts';
import type { DebianPackage, PackageSource } from './package-source.ts';

const busyboxPackage = 'busybox-static';

/** A package and where it is to be had. */
interface FoundPackage {
  package: DebianPackage;
  source: PackageSource;
}

/** The two packages that the default guest is made of. */
export interface GuestPackages {
  kernel: DebianPackage;
  busybox: DebianPackage;
  source: PackageSource;
  /** busybox for this host, where the guest's does not run here: Debian's have the same applets on every architecture */
  ownBusybox?: FoundPackage;
}

/** What the steps of a build share. `scratch` is a folder that is removed afterwards. */
export interface BuildScope {
  scratch: string;
  signal: AbortSignal | undefined;
  /** take packages from there, and not by the host's apt */
  mirror?: MirrorOptions | undefined;
  report: (event: BuildEvent) => void;
}

/**
 * Looks the packages up: in the host's lists, or in fresh ones when the host has none; on a mirror when one is named, or the host has no apt.
 * @param arch of the guest, where it is not the host's: the host has no lists of it
 * @param fresh fetch the lists again in any case
 * @throws {VmError} HOST_MISSING, ABORTED, TIMEOUT, IMAGE_BUILD_FAILED
 */
export async function resolvePackages(scope: BuildScope, arch?: GuestArch, fresh = false): Promise<GuestPackages> {
  scope.report({ phase: 'resolve', message: 'looking up the packages' });
  if (scope.mirror !== undefined) return fromMirror(scope.mirror, scope, arch);
  try {
    return await fromApt(scope, arch, fresh);
  } catch (error) {
    const reason = VmError.from(error);
    if (reason.code !== 'HOST_MISSING') throw error;
    return fromMirror({}, scope, arch, reason);
  }
}

async function fromApt(scope: BuildScope, arch: GuestArch | undefined, fresh: boolean): Promise<GuestPackages> {
  const known = fresh || arch !== undefined ? undefined : await lookUp(hostSource, scope);
  if (known !== undefined) return known;
  const who = 'the package sources of this host have';
  const found = (await lookUp(await freshLists(scope, arch), scope, arch)) ?? lacking(who, arch);
  if (arch === undefined) return found;
  const own = (await busyboxOf(hostSource, scope)) ?? (await busyboxOf(await freshLists(scope), scope));
  return { ...found, ownBusybox: own ?? lacking(who, undefined) };
}

async function freshLists({ scratch, signal, report }: BuildScope, arch?: GuestArch): Promise<PackageSource> {
  report({ phase: 'resolve', message: 'fetching the package lists' });
  return freshSource(await mkdtemp(join(scratch, 'lists-')), signal, arch);
}

/** @param without why apt is not used */
async function fromMirror(
  mirror: MirrorOptions,
  scope: BuildScope,
  arch: GuestArch | undefined,
  without?: VmError,
): Promise<GuestPackages> {
  const source = await openMirror(mirror, scope, without, arch);
  const found = (await lookUp(source, scope, arch)) ?? lacking('the mirror has', arch);
  if (arch === undefined) return found;
  const own = await busyboxOf(await openMirror(mirror, scope, without), scope);
  return { ...found, ownBusybox: own ?? lacking('the mirror has', undefined) };
}

function lacking(who: string, arch: GuestArch | undefined): never {
  const { kernelPackage, debian } = architectureOf(arch);
  throw new VmError('IMAGE_BUILD_FAILED', `${who} no ${kernelPackage} or no busybox-static for ${debian}`, {
    advice:
      "Debian's own sources have both: build the image on Debian 12 or newer, or give a kernel and an initrd of your own.",
  });
}

async function lookUp(
  source: PackageSource,
  { signal }: BuildScope,
  arch?: GuestArch,
): Promise<GuestPackages | undefined> {
  const meta = await source.find(architectureOf(arch).kernelPackage, signal);
  const kernelName = meta?.depends.find((name) => /^linux-image-\d/.test(name));
  if (kernelName === undefined) return undefined;
  const kernel = await source.find(kernelName, signal);
  const busybox = await source.find(busyboxPackage, signal);
  return kernel && busybox && { kernel, busybox, source };
}

async function busyboxOf(source: PackageSource, { signal }: BuildScope): Promise<FoundPackage | undefined> {
  const found = await source.find(busyboxPackage, signal);
  return found && { package: found, source };
}

/**
 * Puts a package into the store of downloads, unless it is there, and returns its path.
 * @throws {VmError} ABORTED; IMAGE_BUILD_FAILED when it cannot be had or is not what the lists say
 */
export async function obtainPackage(
  wanted: DebianPackage,
  source: PackageSource,
  store: string,
  scope: BuildScope,
): Promise<string> {
  await mkdir(store, { recursive: true, mode: 0o700 });
  const path = join(store, `${wanted.sha256}.deb`);
  const kept = await describeFile(path).catch(() => undefined);
  if (kept?.sha256 === wanted.sha256) return path;
  const report = (percent: number): void => {
    const done = Math.round((wanted.size * percent) / 100);
    scope.report({ phase: 'download', message: `${wanted.name} ${wanted.version}`, done, total: wanted.size });
  };
  report(0);
  const folder = await mkdtemp(join(scope.scratch, 'download-'));
  await source.download(wanted, folder, { signal: scope.signal, onPercent: report });
  const [file, ...others] = (await readdir(folder)).filter((name) => name.endsWith('.deb'));
  if (file === undefined || others.length > 0)
    throw new VmError('IMAGE_BUILD_FAILED', `there is no file of ${wanted.name} after its download`);
  const { sha256, size } = await describeFile(join(folder, file));
  if (sha256 !== wanted.sha256 || size !== wanted.size) {
    throw new VmError(
      'IMAGE_BUILD_FAILED',
      `the download of ${wanted.name} is not what the package lists say: its SHA-256 is ${sha256}, not ${wanted.sha256}`,
    );
  }
  report(100);
  await rename(join(folder, file), path);
  return path;
}

/** Unpacks a package into a new folder, without installing it or running its scripts. @throws {VmError} as `unpackDeb` does */
export async function unpackPackage(path: string, name: string, scope: BuildScope): Promise<string> {
  scope.report({ phase: 'unpack', message: name });
  const folder = await mkdtemp(join(scope.scratch, 'unpacked-'));
  await unpackDeb(path, name, folder, scope.signal);
  return folder;
}

/** Removes the downloads that no current image needs. */
export async function prunePackages(store: string, needed: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(store)) {
    if (!needed.has(name.replace(/\.deb$/, ''))) await rm(join(store, name), { force: true });
  }
}
