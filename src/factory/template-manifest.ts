import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { assetPath } from '../config/assets.ts';
import type { HypervisorConfig, VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { Places } from '../state/paths.ts';
import { readSigned, writeSigned } from '../state/signed-file.ts';

/** What a template is of. */
export interface TemplateManifest {
  schema: 1;
  name: string;
  /** 12 hexadecimal digits, unique on the host */
  id: string;
  /** ISO 8601, UTC */
  createdAt: string;
  /** of the polyvisor that made it: the agent in its memory is that one's */
  version: string;
  hypervisor: string;
  /** of the VMM, as it says it; absent for one that says none */
  vmmVersion?: string | undefined;
  accel: 'kvm' | 'tcg';
  /** what was asked for */
  given: VmConfigInput;
  /** the same, complete */
  config: HypervisorConfig;
  /** name of the guest image */
  image?: string | undefined;
  /** where its memory is */
  memory: 'tmpfs' | 'disk';
  /** absolute in tmpfs; on a disk it is named within the template's folder */
  dataFolder: string;
  /** whether clones share its memory, copy-on-write */
  shared: boolean;
  /** files of the data folder, by name */
  files: Readonly<Record<string, FileMark>>;
  /** files of the host that the VMM of a clone reads, by path */
  assets: Readonly<Record<string, FileMark>>;
}

/** By what a file is known again. */
export interface FileMark {
  bytes: number;
  /** milliseconds since the epoch of the last change; a file whose content is hashed may have another */
  modifiedMs: number;
  /** SHA-256, hexadecimal; absent for memory, of which every clone would have to read all */
  sha256?: string | undefined;
}

/** Files up to this size are read whenever a clone is made; of larger ones only size and time are compared. */
const hashedBytes = 4 * 2 ** 20;

const manifestName = 'template.json';

/** @throws {VmError} IO, PERMISSION */
export async function writeTemplate(folder: string, manifest: TemplateManifest, at: Places): Promise<void> {
  await writeSigned(path.join(folder, manifestName), manifest, at);
}

/** @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID, PERMISSION */
export async function readTemplate(folder: string, at: Places): Promise<TemplateManifest> {
  const file = path.join(folder, manifestName);
  const { value, ours } = await readSigned(file, { schema: 1, what: 'template', at });
  if (ours) return value as unknown as TemplateManifest;
  throw new VmError('FILE_INVALID', `${file} was not written with this user's key`, {
    path: file,
    advice: 'A VMM trusts a template. Remove it, and make it again.',
  });
}

/** Marks of all files in a folder. @throws {VmError} IO */
export async function markFolder(folder: string): Promise<Record<string, FileMark>> {
  const marks: Record<string, FileMark> = {};
  for (const name of (await readdir(folder)).toSorted()) marks[name] = await mark(path.join(folder, name), false);
  return marks;
}

/** Marks of the files that a configuration boots. @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE */
export async function markAssets(config: HypervisorConfig): Promise<Record<string, FileMark>> {
  const marks: Record<string, FileMark> = {};
  for (const type of ['kernel', 'initrd', 'image', 'firmware'] as const) {
    const file = assetPath(config, type);
    if (file !== undefined) marks[file] = await mark(file, true);
  }
  return marks;
}

/**
 * Makes sure that a template is as it was made: none of its files is missing, cut or changed, and neither is a file of the host that it needs.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID
 */
export async function checkFiles({ files, assets }: TemplateManifest, dataFolder: string): Promise<void> {
  for (const [name, expected] of Object.entries(files)) {
    const changed = await difference(path.join(dataFolder, name), expected, { hashed: expected.bytes <= hashedBytes });
    if (changed === undefined) continue;
    throw new VmError('FILE_INVALID', `the template's file ${path.join(dataFolder, name)} ${changed}`, {
      path: path.join(dataFolder, name),
      advice: 'Remove the template, and make it again.',
    });
  }
  for (const [file, expected] of Object.entries(assets)) {
    const changed = await difference(file, expected, { hashed: false });
    if (changed === undefined || (await hashOf(file)) === expected.sha256) continue;
    throw new VmError('FILE_INVALID', `${file} has changed since the template was made`, {
      path: file,
      advice: 'Put the file back that the template was booted from, or make the template again.',
    });
  }
}

async function mark(file: string, large: boolean): Promise<FileMark> {
  const { size, mtimeMs } = await look(file);
  const sha256 = large || size <= hashedBytes ? await hashOf(file) : undefined;
  return { bytes: size, modifiedMs: mtimeMs, sha256 };
}

/** How a file is another one than it was, in words. */
async function difference(
  file: string,
  expected: FileMark,
  { hashed }: { hashed: boolean },
): Promise<string | undefined> {
  const { size, mtimeMs } = await look(file);
  if (size !== expected.bytes) return `has ${size} bytes, and had ${expected.bytes}`;
  if (hashed) {
    const found = createHash('sha256').update(await readFile(file));
    return found.digest('hex') === expected.sha256 ? undefined : 'has changed';
  }
  return mtimeMs === expected.modifiedMs ? undefined : 'has changed';
}

async function look(file: string): Promise<{ size: number; mtimeMs: number }> {
  return stat(file).catch((error: unknown) => fail(file, error));
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash).catch((error: unknown) => fail(file, error));
  return hash.digest('hex');
}

function fail(file: string, error: unknown): never {
  const { code: errno, message } = error as NodeJS.ErrnoException;
  const missing = errno === 'ENOENT' || errno === 'ENOTDIR';
  throw new VmError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `${file}: ${message}`, {
    path: file,
    errno,
    cause: error,
    advice: missing ? 'Make the template again: memory in tmpfs is gone when the host has rebooted.' : undefined,
  });
}
