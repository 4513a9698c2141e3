import { accessSync, closeSync, constants, openSync, type Stats, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { VmError } from '../errors.ts';
import { verifyAssetHashes } from './asset-hash.ts';
import { type AssetType, assetTypes } from './asset-type.ts';
import { assetFieldName, assetPath } from './assets.ts';
import { fileError } from './file-error.ts';
import type { HypervisorConfig } from './vm-config.ts';

/** What a configured path must be. */
type Kind = 'file' | 'disk' | 'program' | 'folder' | 'source';

interface PathToCheck {
  readonly field: string;
  readonly path: string;
  readonly kind: Kind;
}

const BYTES_PER_MIB = 1024 * 1024;
const assetKinds: Readonly<Record<AssetType, Kind>> = {
  kernel: 'file',
  image: 'disk',
  initrd: 'file',
  firmware: 'file',
  hypervisor: 'program',
  hypervisorCtl: 'program',
  jailer: 'program',
};

/**
 * Looks at every file and folder that the config names, at the size of the initrd and at the SHA-512 of custom assets
 * that have one. Links are followed.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE or FILE_INVALID (empty, a folder, not executable, another hash), with
 * the field and the path; HYPERVISOR_NOT_FOUND when it is the VMM that is missing; INVALID_CONFIG when a path is relative
 * or the initrd does not fit into the memory; ABORTED when the signal fires while a file is hashed
 */
export async function checkAssets(config: HypervisorConfig, signal?: AbortSignal): Promise<void> {
  for (const entry of pathsToCheck(config)) checkPath(entry);
  checkInitrdFits(config);
  await verifyAssetHashes(config, signal);
}

function pathsToCheck(config: HypervisorConfig): PathToCheck[] {
  const entries: { field: string; path: string | undefined; kind: Kind }[] = [
    ...assetTypes.map((type) => ({
      field: assetFieldName(config, type),
      path: assetPath(config, type),
      kind: assetKinds[type],
    })),
    ...config.pflash.map((path, at) => ({ field: `pflash[${at}]`, path, kind: 'file' as const })),
    { field: 'virtioFsDaemon', path: config.virtioFsDaemon, kind: 'program' },
    { field: 'fileBackedMemRootDir', path: config.fileBackedMemRootDir, kind: 'folder' },
    { field: 'vhostUserStorePath', path: config.vhostUserStorePath, kind: 'folder' },
    { field: 'entropySource', path: config.entropySource, kind: 'source' },
  ];
  if (config.bootFromTemplate) {
    entries.push({ field: 'memoryPath', path: config.memoryPath, kind: 'file' });
    entries.push({ field: 'devicesStatePath', path: config.devicesStatePath, kind: 'file' });
  }
  return entries.filter((entry): entry is PathToCheck => entry.path !== undefined);
}

function checkPath({ field, path, kind }: PathToCheck): void {
  if (!isAbsolute(path)) {
    throw new VmError('INVALID_CONFIG', `${field} is ${path}, but an absolute path is needed`, { field, path });
  }
  const found = statOf(path, (cause) => notFound(fileError(cause, field, path), field));
  const problem = problemOf(found, kind);
  if (problem !== undefined) throw new VmError('FILE_INVALID', `${field}: ${path} ${problem}`, { field, path });
  checkAccess(field, path, kind);
}

function statOf(path: string, asError: (cause: unknown) => VmError): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw asError(cause);
  }
}

function problemOf(found: Stats, kind: Kind): string | undefined {
  if (kind === 'folder') return found.isDirectory() ? undefined : 'is not a folder';
  if (found.isDirectory()) return 'is a folder, a file is needed';
  // A block device has no size of its own, and random numbers come from a character device.
  if (kind === 'disk' && found.isBlockDevice()) return undefined;
  if (kind === 'source' && found.isCharacterDevice()) return undefined;
  if (!found.isFile()) return 'is not a regular file';
  return found.size === 0 ? 'is empty' : undefined;
}

function checkAccess(field: string, path: string, kind: Kind): void {
  try {
    if (kind === 'program' || kind === 'folder') {
      accessSync(path, constants.X_OK);
    } else {
      // Opening asks the kernel as the VMM will; access() would ask for the real user instead of the effective one.
      closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    }
  } catch (cause) {
    if (kind !== 'program') throw fileError(cause, field, path);
    throw new VmError('FILE_INVALID', `${field}: ${path} is not executable`, { field, path, cause });
  }
}

// A VMM that isn't there is the same trouble whether it was looked for in PATH or at a configured place.
function notFound(error: VmError, field: string): VmError {
  const isVmm = field === 'hypervisorPath' || field === 'customAssets.hypervisor';
  if (!isVmm || error.code !== 'FILE_NOT_FOUND') return error;
  return new VmError('HYPERVISOR_NOT_FOUND', error.rawMessage, { ...error.facts, cause: error.cause });
}

function checkInitrdFits(config: HypervisorConfig): void {
  const path = assetPath(config, 'initrd');
  if (path === undefined) return;
  const field = assetFieldName(config, 'initrd');
  const { size } = statOf(path, (cause) => fileError(cause, field, path));
  if (size < config.memoryMiB * BYTES_PER_MIB) return;
  const sizeMiB = Math.ceil(size / BYTES_PER_MIB);
  throw new VmError(
    'INVALID_CONFIG',
    `${field}: ${path} (${sizeMiB} MiB) does not fit into ${config.memoryMiB} MiB of memory`,
    {
      field,
      path,
      advice: `Set memoryMiB to well above ${sizeMiB}.`,
    },
  );
}
