import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { VmError } from '../errors.ts';
import { assetTypes } from './asset-type.ts';
import type { AssetConfig } from './assets.ts';
import { fileError } from './file-error.ts';

/**
 * Compares every custom asset that has a SHA-512 with the file, read as a stream.
 * @throws {VmError} FILE_INVALID when they differ; FILE_NOT_FOUND or FILE_UNREADABLE when the file can't be read;
 * ABORTED when the signal fires
 */
export async function verifyAssetHashes(config: AssetConfig, signal?: AbortSignal): Promise<void> {
  for (const type of assetTypes) {
    const asset = config.customAssets?.[type];
    if (asset?.sha512 === undefined) continue;
    const field = `customAssets.${type}`;
    const found = await sha512Of(asset.path, field, signal);
    if (found === asset.sha512.toLowerCase()) continue;
    throw new VmError('FILE_INVALID', `${field}: the SHA-512 of ${asset.path} is ${found}, not the one configured`, {
      field,
      path: asset.path,
      advice: 'The file was changed or is another version: check where it comes from.',
    });
  }
}

async function sha512Of(path: string, field: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha512');
  try {
    await pipeline(createReadStream(path), hash, signal === undefined ? {} : { signal });
  } catch (cause) {
    if (signal?.aborted === true) throw new VmError('ABORTED', `Aborted while reading ${path}`, { path, cause });
    throw fileError(cause, field, path);
  }
  return hash.digest('hex');
}
