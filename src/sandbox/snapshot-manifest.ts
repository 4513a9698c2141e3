import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { assetPath } from '../config/assets.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { changeOf, type FileMark } from '../factory/file-mark.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { type Places, places } from '../state/paths.ts';
import { readSigned, writeSigned } from '../state/signed-file.ts';
import type { AttachedDevice } from './device-spec.ts';

/** What a snapshot is of, beside what its VMM's driver wrote. */
export interface SnapshotManifest {
  schema: 1;
  /** ISO 8601, UTC */
  createdAt: string;
  /** the VM that was saved */
  name: string;
  hypervisor: string;
  /** of the VMM, as it says it; absent for one that says none */
  vmmVersion?: string | undefined;
  accel: 'kvm' | 'tcg';
  /** complete, so that later defaults don't change it */
  config: HypervisorConfig;
  image?: string | undefined;
  imageConfig?: RootConfig | undefined;
  /** what it had by then, after what resizes there were */
  size: { vcpus?: number | undefined; memoryMiB?: number | undefined };
  /** what the VMM's driver wrote, by name */
  files: Readonly<Record<string, FileMark>>;
  /** SHA-256 by path: files of the host of which the guest holds parts in its memory */
  assets: Readonly<Record<string, string>>;
  /** those that it had been given by then */
  devices?: readonly AttachedDevice[] | undefined;
}

const manifestName = 'snapshot.json';

/** The last thing that is written: a folder without it holds no snapshot. @throws {VmError} IO, PERMISSION */
export async function writeManifest(folder: string, manifest: SnapshotManifest, at: Places = places()): Promise<void> {
  await writeSigned(path.join(folder, manifestName), manifest, at);
}

/**
 * What is in a folder. Its configuration is not checked field by field: that it is unchanged is enough.
 * @param options trust: one that was written with another key is accepted, as of another host
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID when the folder holds no snapshot of this version's form; PERMISSION when it
 *   was written with another key
 */
export async function readManifest(
  folder: string,
  { trust = false, at = places() }: { trust?: boolean | undefined; at?: Places } = {},
): Promise<SnapshotManifest> {
  const file = path.join(folder, manifestName);
  const { value, ours } = await readSigned(file, { schema: 1, what: 'snapshot', at });
  if (ours || trust) return value as unknown as SnapshotManifest;
  throw new VmError('PERMISSION', `${file} was written with another key than this user's`, {
    path: file,
    advice:
      'Who made a snapshot decides what its VMM does. If you trust its maker, say so: `--trust`, or `trust: true`.',
  });
}

/**
 * Makes sure that all files of a snapshot are there, and as they were written. All of them are read.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID
 */
export async function checkSnapshot(folder: string, { files }: SnapshotManifest): Promise<void> {
  for (const [name, mark] of Object.entries(files)) {
    const file = path.join(folder, path.basename(name));
    const changed = await changeOf(file, mark);
    if (changed === undefined) continue;
    throw new VmError('FILE_INVALID', `the snapshot is damaged: ${file} ${changed}`, { path: file });
  }
}

/** Hashes of the files that a configuration boots. */
export async function assetHashes(config: HypervisorConfig): Promise<Record<string, string>> {
  const assets = (['kernel', 'initrd', 'image'] as const).map((type) => assetPath(config, type));
  const paths = assets.filter((it) => it !== undefined);
  return Object.fromEntries(await Promise.all(paths.map(async (file) => [file, await sha256(file)] as const)));
}

/** @throws {VmError} FILE_INVALID when a file is another one than when the snapshot was made; FILE_NOT_FOUND */
export async function checkAssets(assets: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, expected] of Object.entries(assets)) {
    if ((await sha256(file)) === expected) continue;
    throw new VmError('FILE_INVALID', `${file} has changed since the snapshot was made`, {
      path: file,
      advice: 'Put the file back that the VM was booted from, or make a new snapshot.',
    });
  }
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(file), hash);
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    const code = errno === 'ENOENT' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE';
    throw new VmError(code, `${file}: ${message}`, { path: file, errno, cause: error });
  }
  return hash.digest('hex');
}
