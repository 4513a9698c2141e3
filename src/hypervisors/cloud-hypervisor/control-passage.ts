import { randomBytes } from 'node:crypto';
import { closeSync, constants, mkdirSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { giveToVmm } from '../give-to-vmm.ts';
import type { LiveScope } from './control-plug.ts';
import { landlockRules } from './plan-params.ts';

/*
 * Cloud Hypervisor makes the files itself that it writes a VM to, and a confined one may see no folder of a caller's: it gets one of its
 * own for that time.
 */

/** Name of the folder in the VMM's own through which a snapshot goes. */
const passageName = 'snapshot';

/** Has the VMM write into a folder, and takes out of it, as we reach it (`here`), what is to stay. */
export type Writing<T> = (folder: string, here: string) => Promise<T>;

/**
 * Has something written into a folder within the one where it is to be in the end: there is room for gigabytes, and a file only gets another
 * name. Landlock's rules hold from the start on, so a VMM that has them writes into its own folder, which may be in memory.
 * @throws {VmError} what `write` throws, and what showing the folder throws
 */
export async function withPassage<T>(
  { vmm, context: { config, runtimeFolder } }: Pick<LiveScope, 'vmm' | 'context'>,
  target: string,
  call: CallOptions,
  write: Writing<T>,
): Promise<T> {
  if (landlockRules(config) !== undefined) return withOwnPassage(runtimeFolder, write);
  const lent = path.join(target, `.${passageName}-${randomBytes(4).toString('hex')}`);
  await vmm.lendFolder(lent, call);
  try {
    return await write(lent, lent);
  } finally {
    await vmm.takeBackFolder(lent);
  }
}

/** The same in the VMM's own folder. @throws what `write` throws, and the file system's errors */
export async function withOwnPassage<T>(runtimeFolder: string, write: Writing<T>): Promise<T> {
  const folder = path.join(runtimeFolder, `${passageName}-${randomBytes(4).toString('hex')}`);
  makeFolder(folder);
  let opened: number | undefined;
  try {
    // The VMM owns what this lies in, and may put a link in its place.
    opened = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    return await write(folder, `/proc/self/fd/${opened}`);
  } finally {
    if (opened !== undefined) closeSync(opened);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A folder in the VMM's own, for what it is to find there when it starts. */
export function makePassage(runtimeFolder: string): string {
  closePassage(runtimeFolder);
  const folder = passageIn(runtimeFolder);
  makeFolder(folder);
  return folder;
}

/** Where that is. */
export function passageIn(runtimeFolder: string): string {
  return path.join(runtimeFolder, passageName);
}

export function closePassage(runtimeFolder: string): void {
  rmSync(passageIn(runtimeFolder), { recursive: true, force: true });
}

function makeFolder(folder: string): void {
  mkdirSync(folder, { mode: 0o700 });
  giveToVmm(folder);
}
