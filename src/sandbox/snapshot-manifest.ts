import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { assetPath } from '../config/assets.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { writeAtomically } from '../state/atomic-file.ts';

/** What a snapshot is of, beside what its VMM's driver wrote. */
export interface SnapshotManifest {
  schema: 1;
  /** ISO 8601, UTC */
  createdAt: string;
  /** the VM that was saved */
  name: string;
  hypervisor: string;
  accel: 'kvm' | 'tcg';
  /** complete, so that later defaults don't change it */
  config: HypervisorConfig;
  image?: string | undefined;
  /** what it had by then, after what resizes there were */
  size: { vcpus?: number | undefined; memoryMiB?: number | undefined };
  /** SHA-256 by path: files of the host of which the guest holds parts in its memory */
  assets: Readonly<Record<string, string>>;
}

/** As it is on disk. Its configuration is not checked field by field when it is read: that it is unchanged is enough. */
interface StoredManifest extends SnapshotManifest {
  /** SHA-256 of the rest */
  digest: string;
}

const manifestName = 'snapshot.json';

/** The last thing that is written: a folder without it holds no snapshot. */
export async function writeManifest(folder: string, manifest: SnapshotManifest): Promise<void> {
  const stored: StoredManifest = { ...manifest, digest: digestOf(manifest) };
  await writeAtomically(path.join(folder, manifestName), `${JSON.stringify(stored, undefined, 2)}\n`);
}

/** @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID when the folder holds no snapshot of this version's form */
export async function readManifest(folder: string): Promise<SnapshotManifest> {
  const file = path.join(folder, manifestName);
  let stored: Partial<StoredManifest> | null;
  try {
    stored = JSON.parse(await readFile(file, 'utf8')) as Partial<StoredManifest> | null;
  } catch (error) {
    const { code: errno } = error as NodeJS.ErrnoException;
    const code = errno === 'ENOENT' ? 'FILE_NOT_FOUND' : errno === undefined ? 'FILE_INVALID' : 'FILE_UNREADABLE';
    throw new VmError(code, `${folder} holds no snapshot`, { path: file, errno, cause: error });
  }
  if (stored?.schema !== 1)
    throw new VmError('FILE_INVALID', `${file} is not what this version writes`, { path: file });
  const { digest, ...manifest } = stored as StoredManifest;
  if (digest !== digestOf(manifest))
    throw new VmError('FILE_INVALID', `${file} is damaged: its digest is wrong`, { path: file });
  return manifest;
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

/** Of the text that it is written as: fields in the same order, no blanks. */
function digestOf(manifest: SnapshotManifest): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}
