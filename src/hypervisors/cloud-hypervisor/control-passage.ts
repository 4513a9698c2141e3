import { randomBytes } from 'node:crypto';
import { lchownSync, mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import type { VmContext } from '../hypervisor.ts';
import type { VmmProcess } from '../vmm-process.ts';
import { landlockRules } from './plan-params.ts';

/*
 * Cloud Hypervisor makes the files itself that it writes a VM to, and a confined one may see no folder of a caller's: it gets one of its
 * own for that time.
 */

/** Name of the folder in the VMM's own through which a snapshot goes. */
const passageName = 'snapshot';

/** What such a folder needs of a VMM. */
export type Lends = Pick<VmmProcess, 'lendFolder' | 'takeBackFolder'>;

/**
 * Has something written into a folder within the one where it is to be in the end: there is room for gigabytes, and a file only gets another
 * name. Landlock's rules hold from the start on, so a VMM that has them writes into its own folder, which may be in memory.
 * @param write gets the folder, and takes out of it what is to stay
 * @throws {VmError} what `write` throws, and what showing the folder throws
 */
export async function withPassage<T>(
  vmm: Lends,
  { config, runtimeFolder }: Pick<VmContext, 'config' | 'runtimeFolder'>,
  target: string,
  call: CallOptions,
  write: (folder: string) => Promise<T>,
): Promise<T> {
  if (landlockRules(config) !== undefined) {
    const own = makePassage(runtimeFolder);
    try {
      return await write(own);
    } finally {
      closePassage(runtimeFolder);
    }
  }
  const lent = path.join(target, `.${passageName}-${randomBytes(4).toString('hex')}`);
  await vmm.lendFolder(lent, call);
  try {
    return await write(lent);
  } finally {
    await vmm.takeBackFolder(lent);
  }
}

/** A folder in the VMM's own. */
export function makePassage(runtimeFolder: string): string {
  closePassage(runtimeFolder);
  const folder = path.join(runtimeFolder, passageName);
  mkdirSync(folder, { mode: 0o700 });
  // A VMM with a uid of its own has its folder by that uid: it may put a link in our folder's place meanwhile.
  const { uid, gid } = statSync(runtimeFolder);
  if (uid !== process.geteuid?.()) lchownSync(folder, uid, gid);
  return folder;
}

export function closePassage(runtimeFolder: string): void {
  rmSync(path.join(runtimeFolder, passageName), { recursive: true, force: true });
}
