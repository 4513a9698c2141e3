import path from 'node:path';
import { assetPath } from '../config/assets.ts';
import type { HypervisorConfig, VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import type { Places } from '../state/paths.ts';
import { readSigned, writeSigned } from '../state/signed-file.ts';
import { changeOf, type FileMark, markFile } from './file-mark.ts';

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
  /** what the root image says of its commands */
  imageConfig?: RootConfig | undefined;
  /** where its memory is */
  memory: 'tmpfs' | 'disk';
  /** absolute in tmpfs; on a disk it is named within the template's folder */
  dataFolder: string;
  /** what its agent can do, which has heard its last client to the end; absent in one that was made before this was written down */
  agentFeatures?: readonly string[] | undefined;
  /** whether clones share its memory, copy-on-write */
  shared: boolean;
  /** files of the data folder, by name */
  files: Readonly<Record<string, FileMark>>;
  /** files of the host that the VMM of a clone reads, by path */
  assets: Readonly<Record<string, FileMark>>;
}

/** Files up to this size are read whenever a clone is made; of larger ones, such as memory, only size and time are compared. */
export const hashedBytes: number = 4 * 2 ** 20;

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

/** Marks of the files that a configuration boots. @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE */
export async function markAssets(config: HypervisorConfig): Promise<Record<string, FileMark>> {
  const marks: Record<string, FileMark> = {};
  for (const type of ['kernel', 'initrd', 'image', 'firmware'] as const) {
    const file = assetPath(config, type);
    if (file !== undefined) marks[file] = await markFile(file);
  }
  return marks;
}

/**
 * Makes sure that a template is as it was made: none of its files is missing, cut or changed, and neither is a file of the host that it needs.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID
 */
export async function checkFiles({ files, assets }: TemplateManifest, dataFolder: string): Promise<void> {
  for (const [name, expected] of Object.entries(files)) {
    const changed = await changeOf(path.join(dataFolder, name), expected);
    if (changed === undefined) continue;
    throw new VmError('FILE_INVALID', `the template's file ${path.join(dataFolder, name)} ${changed}`, {
      path: path.join(dataFolder, name),
      advice: 'Remove the template, and make it again.',
    });
  }
  for (const [file, expected] of Object.entries(assets)) {
    // One that was only touched, or put there again, is the same one.
    const { sha256, ...seen } = expected;
    if ((await changeOf(file, seen)) === undefined || (await markFile(file)).sha256 === sha256) continue;
    throw new VmError('FILE_INVALID', `${file} has changed since the template was made`, {
      path: file,
      advice: 'Put the file back that the template was booted from, or make the template again.',
    });
  }
}
