import { chmod, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { type HeldLock, lock } from '../../state/lock.ts';
import { ensurePrivateFolder } from '../../state/private-folder.ts';
import { openScratch } from '../store.ts';
import { checkImageName, manifestFileName } from './image-name.ts';
import { type RootImage, type RootManifest, rootManifestVersion } from './root-image.ts';

/*
 * Root images on disk, in one folder:
 *   files/SHA256        file systems, read-only, each once
 *   names/NAME.json     what has which name
 *   .building-...       what is being made (store.ts of the default guest has the same)
 * A file system gets its place before its name does, both under one lock, so that a killed process leaves a file without a name at
 * most: `prune` takes it.
 */

const lockName = 'images';

/** The folders of a store, made if need be. @throws {VmError} PERMISSION, IO */
async function openFolders(folder: string): Promise<{ files: string; names: string }> {
  await ensurePrivateFolder(folder);
  const [files, names] = [join(folder, 'files'), join(folder, 'names')];
  for (const path of [files, names]) await mkdir(path, { recursive: true, mode: 0o700 });
  return { files, names };
}

/** Calls `work` with a folder for what is being made, on the same file system as the store. It goes whatever happens. */
export async function withScratch<T>(folder: string, work: (scratch: string) => Promise<T>): Promise<T> {
  await openFolders(folder);
  const scratch = await openScratch(folder);
  try {
    return await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Where the store has, or would have, a file system. */
export function rootFile(folder: string, sha256: string): string {
  return join(folder, 'files', sha256);
}

/**
 * Gives a file system that was just made its place and its name. Whoever has the name already loses it; VMs go on with what they have.
 * @param made a file in a scratch folder of this store; it is moved
 * @throws {VmError} INVALID_NAME, IO, BUSY, ABORTED
 */
export async function storeRoot(
  folder: string,
  made: string,
  manifest: RootManifest,
  call?: CallOptions,
): Promise<RootImage> {
  const { names } = await openFolders(folder);
  const name = checkImageName(manifest.name);
  const file = rootFile(folder, manifest.root.sha256);
  const held = await lockStore(folder, call);
  try {
    // Readable to a VMM under a uid of its own, to which it is shown; the folders are ours alone.
    await chmod(made, 0o444);
    await rename(made, file);
    await writeAtomically(join(names, manifestFileName(name)), `${JSON.stringify(manifest, null, 2)}\n`);
  } catch (cause) {
    if (cause instanceof VmError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new VmError('IO', `cannot store the image: ${message}`, { path: file, errno: code, cause });
  } finally {
    await held.release();
  }
  return { name, file, manifest };
}

/**
 * Gives a file system that is in the store a further name.
 * @throws {VmError} IMAGE_NOT_FOUND when it was removed meanwhile; INVALID_NAME, IO, BUSY, ABORTED
 */
export async function nameRoot(folder: string, manifest: RootManifest, call?: CallOptions): Promise<RootImage> {
  const name = checkImageName(manifest.name);
  const file = rootFile(folder, manifest.root.sha256);
  const held = await lockStore(folder, call);
  try {
    if (!(await stat(file).catch(() => undefined))?.isFile())
      throw new VmError('IMAGE_NOT_FOUND', 'the image was removed meanwhile', { path: file });
    await writeAtomically(join(folder, 'names', manifestFileName(name)), `${JSON.stringify(manifest, null, 2)}\n`);
  } finally {
    await held.release();
  }
  return { name, file, manifest };
}

/** Taken while names and files change together. */
function lockStore(folder: string, call: CallOptions = {}): Promise<HeldLock> {
  return lock(folder, lockName, { timeoutMs: 60_000, ...call });
}

/** The image of a name; undefined when there is none that is whole. @throws {VmError} INVALID_NAME */
export async function findRoot(folder: string, name: string): Promise<RootImage | undefined> {
  return readRoot(folder, join(folder, 'names', manifestFileName(checkImageName(name))));
}

/** All images that are whole, by name. @throws {VmError} IO */
export async function listRoots(folder: string): Promise<RootImage[]> {
  const names = await readNames(join(folder, 'names'));
  const found = await Promise.all(
    names
      .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
      .map((name) => readRoot(folder, join(folder, 'names', name))),
  );
  return found.filter((image) => image !== undefined).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Takes an image's name away, and its file system when nobody else has it and `keepFile` doesn't say so. @throws {VmError} IO, BUSY */
export async function removeRoot(folder: string, image: RootImage, keepFile: boolean): Promise<void> {
  const held = await lockStore(folder);
  try {
    await rm(join(folder, 'names', manifestFileName(image.name)), { force: true });
    const others = await listRoots(folder);
    if (!keepFile && others.every(({ file }) => file !== image.file)) await rm(image.file, { force: true });
  } finally {
    await held.release();
  }
}

/**
 * Removes file systems that have no name and that nobody uses.
 * @param inUse whether a VM has the file
 * @returns the bytes that are free now
 * @throws {VmError} IO, BUSY
 */
export async function pruneFiles(folder: string, inUse: (file: string) => boolean): Promise<number> {
  const entries = await readNames(join(folder, 'files'));
  if (entries.length === 0) return 0;
  const held = await lockStore(folder);
  try {
    const named = new Set((await listRoots(folder)).map(({ file }) => file));
    let freed = 0;
    for (const file of entries.map((entry) => join(folder, 'files', entry))) {
      if (named.has(file) || inUse(file)) continue;
      freed += (await stat(file)).size;
      await rm(file, { force: true });
    }
    return freed;
  } finally {
    await held.release();
  }
}

async function readRoot(folder: string, path: string): Promise<RootImage | undefined> {
  try {
    const manifest = JSON.parse(await readFile(path, 'utf8')) as RootManifest;
    if (manifest.schemaVersion !== rootManifestVersion) return undefined;
    const file = rootFile(folder, manifest.root.sha256);
    if ((await stat(file)).size !== manifest.root.size) return undefined;
    return { name: manifest.name, file, manifest };
  } catch {
    // No image, or one that is being removed at this moment.
    return undefined;
  }
}

async function readNames(folder: string): Promise<string[]> {
  return readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new VmError('IO', `cannot read ${folder}: ${cause.message}`, { path: folder, errno: cause.code, cause });
  });
}
