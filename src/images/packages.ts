import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { downloadPackage, fetchLists, findPackage, hostLists, type AptLists, type AptPackage } from './apt.ts';
import { describeFile } from './file-record.ts';
import { hostArchitecture } from './host-architecture.ts';
import { runTool } from './host-tool.ts';
import type { BuildEvent } from './image.ts';

/** The two packages that the default guest is made of. */
export interface GuestPackages {
  kernel: AptPackage;
  busybox: AptPackage;
  lists: AptLists;
}

/** What the steps of a build share. `scratch` is a folder that is removed afterwards. */
export interface BuildScope {
  scratch: string;
  signal: AbortSignal | undefined;
  report: (event: BuildEvent) => void;
}

/**
 * Looks the packages up in the host's lists, or in fresh ones when the host has none.
 * @param fresh fetch the lists again in any case
 * @throws {VmError} HOST_MISSING, ABORTED, IMAGE_BUILD_FAILED
 */
export async function resolvePackages(scope: BuildScope, fresh = false): Promise<GuestPackages> {
  scope.report({ phase: 'resolve', message: 'looking up the packages' });
  const known = fresh ? undefined : await lookUp(hostLists, scope);
  if (known !== undefined) return known;
  scope.report({ phase: 'resolve', message: 'fetching the package lists' });
  const found = await lookUp(await fetchLists(await mkdtemp(join(scope.scratch, 'lists-')), scope.signal), scope);
  if (found !== undefined) return found;
  const { kernelPackage } = hostArchitecture();
  throw new VmError(
    'IMAGE_BUILD_FAILED',
    `the package sources of this host have no ${kernelPackage} or no busybox-static`,
    {
      advice:
        "Debian's own sources have both: build the image on Debian 12 or newer, or give a kernel and an initrd of your own.",
    },
  );
}

async function lookUp(lists: AptLists, { signal }: BuildScope): Promise<GuestPackages | undefined> {
  const meta = await findPackage(hostArchitecture().kernelPackage, lists, signal);
  const kernelName = meta?.depends.find((name) => /^linux-image-\d/.test(name));
  if (kernelName === undefined) return undefined;
  const kernel = await findPackage(kernelName, lists, signal);
  const busybox = await findPackage('busybox-static', lists, signal);
  return kernel && busybox && { kernel, busybox, lists };
}

/**
 * Puts a package into the store of downloads, unless it is there, and returns its path.
 * @throws {VmError} ABORTED; IMAGE_BUILD_FAILED when it cannot be had or is not what the lists say
 */
export async function obtainPackage(
  wanted: AptPackage,
  lists: AptLists,
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
  await downloadPackage(wanted, folder, lists, { signal: scope.signal, onPercent: report });
  const [file, ...others] = (await readdir(folder)).filter((name) => name.endsWith('.deb'));
  if (file === undefined || others.length > 0)
    throw new VmError('IMAGE_BUILD_FAILED', `apt-get left no file of ${wanted.name}`);
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

/** Unpacks a package into a new folder, without installing it or running its scripts. */
export async function unpackPackage(path: string, name: string, scope: BuildScope): Promise<string> {
  scope.report({ phase: 'unpack', message: name });
  const folder = await mkdtemp(join(scope.scratch, 'unpacked-'));
  const result = await runTool('dpkg-deb', ['-x', path, folder], { signal: scope.signal });
  if (result.exitCode !== 0) {
    throw new VmError('IMAGE_BUILD_FAILED', `${name} cannot be unpacked: ${result.errors.trim()}`, {
      exitCode: result.exitCode,
      log: result.errors,
    });
  }
  return folder;
}

/** Removes the downloads that no current image needs. */
export async function prunePackages(store: string, needed: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(store)) {
    if (!needed.has(name.replace(/\.deb$/, ''))) await rm(join(store, name), { force: true });
  }
}
