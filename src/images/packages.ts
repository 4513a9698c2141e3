import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { freshSource, hostSource } from './apt.ts';
import { unpackDeb } from './deb.ts';
import { describeFile } from './file-record.ts';
import { hostArchitecture } from './host-architecture.ts';
import type { BuildEvent } from './image.ts';
import { type MirrorOptions, openMirror } from './mirror/mirror.ts';
import type { DebianPackage, PackageSource } from './package-source.ts';

/** The two packages that the default guest is made of. */
export interface GuestPackages {
  kernel: DebianPackage;
  busybox: DebianPackage;
  source: PackageSource;
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
 * @param fresh fetch the lists again in any case
 * @throws {VmError} HOST_MISSING, ABORTED, TIMEOUT, IMAGE_BUILD_FAILED
 */
export async function resolvePackages(scope: BuildScope, fresh = false): Promise<GuestPackages> {
  scope.report({ phase: 'resolve', message: 'looking up the packages' });
  if (scope.mirror !== undefined) return fromMirror(scope.mirror, scope);
  let known: GuestPackages | undefined;
  try {
    known = fresh ? undefined : await lookUp(hostSource, scope);
  } catch (error) {
    const { code } = VmError.from(error);
    if (code !== 'HOST_MISSING') throw error;
    return fromMirror({}, scope, VmError.from(error));
  }
  if (known !== undefined) return known;
  scope.report({ phase: 'resolve', message: 'fetching the package lists' });
  const folder = await mkdtemp(join(scope.scratch, 'lists-'));
  return (
    (await lookUp(await freshSource(folder, scope.signal), scope)) ?? lacking('the package sources of this host have')
  );
}

/** @param without why apt is not used */
async function fromMirror(mirror: MirrorOptions, scope: BuildScope, without?: VmError): Promise<GuestPackages> {
  const source = await openMirror(mirror, scope, without);
  return (await lookUp(source, scope)) ?? lacking('the mirror has');
}

function lacking(who: string): never {
  const { kernelPackage } = hostArchitecture();
  throw new VmError('IMAGE_BUILD_FAILED', `${who} no ${kernelPackage} or no busybox-static`, {
    advice:
      "Debian's own sources have both: build the image on Debian 12 or newer, or give a kernel and an initrd of your own.",
  });
}

async function lookUp(source: PackageSource, { signal }: BuildScope): Promise<GuestPackages | undefined> {
  const meta = await source.find(hostArchitecture().kernelPackage, signal);
  const kernelName = meta?.depends.find((name) => /^linux-image-\d/.test(name));
  if (kernelName === undefined) return undefined;
  const kernel = await source.find(kernelName, signal);
  const busybox = await source.find('busybox-static', signal);
  return kernel && busybox && { kernel, busybox, source };
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
