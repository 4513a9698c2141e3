import { constants } from 'node:fs';
import { link, lutimes, mkdir, open, rename, symlink, unlink, type FileHandle } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import { printable } from '../../guest/printable.ts';
import type { TarEntry } from '../../transports/tar/entry.ts';
import { readArchive } from '../../transports/tar/read-archive.ts';
import { archiveError } from '../../transports/tar/reader.ts';
import type { ArchiveRules, Place } from './archive-rules.ts';
import { type Baseline, guestMark, isAlike, type Known, nameOf } from './baseline.ts';
import { FOLDER, inFolderBelow, SET_ID_BITS, seconds, temporaryName, within } from './below.ts';
import { hostError } from './host-error.ts';
import { hasSameContent, isMissing, keepOwner, markIn, removeIfEmpty } from './host-file.ts';
import { IncomingFile } from './incoming-file.ts';

/** Longest name of a file, in bytes. */
const MAX_NAME_BYTES = 255;
/** Names that are tried for a copy beside a file. */
const MAX_COPIES = 100;
/** Of a path in a message, in characters. */
const MAX_SHOWN = 1024;

/** A file that both sides have changed since they were last alike: this host's is left as it is. */
export interface FolderConflict {
  /** of this host, absolute */
  path: string;
  /** where the guest's own is now, beside it; absent where the guest has removed it, or has only a further name of what was removed here */
  copy?: string | undefined;
}

/** What came back of a folder. */
export interface MergedFolder {
  /** files, folders and links that were written here */
  written: number;
  /** the same, removed here since the guest has removed them */
  removed: number;
  conflicts: FolderConflict[];
}

/** What a merge goes by. */
export interface MergeRules {
  archive: ArchiveRules;
  /** what both sides were when they were last alike; is brought up to date */
  baseline: Baseline;
  /** ends the names of the guest's own files where both sides have changed one */
  suffix: string;
}

/**
 * Brings a folder of this host up to what an archive of its copy in a guest says, which nobody vouches for: what is new or has changed there
 * is written, what was removed there is removed, and what has changed here is left. As with `unpackArchive`, nothing outside the folder can
 * be reached.
 * @throws {VmError} ARCHIVE_INVALID, COPY_LIMIT, FILE_NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, IO; what the source throws. Nothing is removed
 *   then
 */
export async function mergeArchive(
  source: AsyncIterable<Buffer>,
  target: string,
  rules: MergeRules,
): Promise<MergedFolder> {
  const merge = new FolderMerge(target, rules);
  try {
    await readArchive(source, merge);
    await merge.leaveTo(1);
    await merge.removeGone();
    return merge.result;
  } finally {
    await merge.close();
  }
}

interface Level {
  /** relative to the folder, as latin1, in the guest */
  name: string;
  entry: TarEntry;
  /** its own name in the guest; here it may have another one */
  leaf: Buffer;
  /** absent while this host has none; it is made for what has changed in it */
  folder: FileHandle | undefined;
  /** one that we made gets its attributes when it is left */
  isMade: boolean;
}

/** An entry, its own name in the guest, and what is known of it. */
interface Spot {
  entry: TarEntry;
  name: string;
  leaf: Buffer;
  known: Known | undefined;
}

class FolderMerge {
  readonly result: MergedFolder = { written: 0, removed: 0, conflicts: [] };
  readonly #target: string;
  readonly #rules: MergeRules;
  readonly #levels: Level[] = [];
  readonly #seen = new Set<string>();
  #file: { incoming: IncomingFile; folder: FileHandle; spot: Spot } | undefined;

  constructor(target: string, rules: MergeRules) {
    this.#target = target;
    this.#rules = rules;
  }

  async entry(entry: TarEntry): Promise<void> {
    const place = this.#rules.archive.place(entry);
    await this.leaveTo(place.depth);
    try {
      if (place.depth === 0) await this.#begin(entry);
      else await this.#meet(entry, place);
    } catch (error) {
      throw hostError(error, entry.name);
    }
  }

  async data(data: Buffer): Promise<void> {
    await this.#file?.incoming.write(data);
  }

  /** The end of an entry. */
  async end(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const { incoming, folder, spot } = file;
    try {
      await incoming.finish((handle) => setAttributes(handle, incoming.entry));
      await this.#settle(folder, spot, incoming.temporary);
      this.#file = undefined;
    } catch (error) {
      throw hostError(error, incoming.entry.name);
    }
  }

  /** Leaves the folders below a depth. */
  async leaveTo(depth: number): Promise<void> {
    while (this.#levels.length > depth) {
      const { folder, isMade, entry } = this.#levels.pop() as Level;
      try {
        if (isMade && folder !== undefined) await setAttributes(folder, entry);
      } catch (error) {
        throw hostError(error, entry.name);
      } finally {
        await folder?.close();
      }
    }
  }

  /** Removes here what the guest has removed, unless it has changed here. */
  async removeGone(): Promise<void> {
    for (const name of this.#rules.baseline.depthFirst()) if (!this.#seen.has(name)) await this.#remove(name);
  }

  /** Closes everything. A file that isn't whole is removed. */
  async close(): Promise<void> {
    await this.#file?.incoming.discard();
    for (const { folder } of this.#levels.splice(0)) await folder?.close();
  }

  async #begin(entry: TarEntry): Promise<void> {
    if (entry.type !== 'folder') throw archiveError('it is of no folder');
    const folder = await open(this.#target, constants.O_RDONLY | constants.O_DIRECTORY).catch((error: unknown) => {
      throw hostError(error, this.#target);
    });
    this.#levels.push({ name: '', entry, leaf: Buffer.alloc(0), folder, isMade: false });
  }

  async #meet(entry: TarEntry, { depth, leaf, linked }: Place): Promise<void> {
    const name = nameOf(entry);
    this.#seen.add(name);
    const known = this.#rules.baseline.get(name);
    const spot = { entry, name, leaf, known };
    const unchanged = known !== undefined && isAlike(known.guest, guestMark(entry));
    if (entry.type === 'folder') return this.#enter(spot, depth, unchanged);
    // Whatever this host has done with it is what holds.
    if (unchanged) return;
    const folder = await this.#folderAt(depth - 1);
    if (entry.type === 'file') {
      this.#file = { incoming: await IncomingFile.begin(folder, entry), folder, spot };
      return;
    }
    const temporary = temporaryName();
    const path = within(folder, temporary);
    if (entry.type === 'symlink') await symlink(entry.link, path);
    else if (!(await this.#linkFile(linked, path))) return this.#tellConflict(name);
    try {
      if (entry.type === 'symlink') await lutimes(path, seconds(entry), seconds(entry));
      await this.#settle(folder, spot, temporary);
    } finally {
      // A rename to another name of the same file does nothing.
      await unlink(path).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    }
  }

  async #enter({ entry, name, leaf, known }: Spot, depth: number, unchanged: boolean): Promise<void> {
    const above = (this.#levels[depth - 1] as Level).folder;
    const here = hostLeaf(leaf, known);
    const found = above && (await markIn(above, here));
    const level: Level = { name, entry, leaf, folder: undefined, isMade: false };
    this.#levels.push(level);
    if (above !== undefined && found?.type === 'folder') {
      level.folder = await open(within(above, here), FOLDER);
      this.#rules.baseline.set(name, { guest: guestMark(entry), host: found, beside: known?.beside });
      return;
    }
    // It was removed here, or never was here: it is a folder of the guest's image. Now it is only made for what has changed in it.
    if (unchanged) return;
    if (above !== undefined && found !== undefined && known?.host !== undefined && isAlike(known.host, found))
      await unlink(within(above, here));
    await this.#folderAt(depth);
  }

  /** The folder of a level; it is made if this host has none, beside what has its name. */
  async #folderAt(depth: number): Promise<FileHandle> {
    const level = this.#levels[depth] as Level;
    if (level.folder !== undefined) return level.folder;
    const parent = await this.#folderAt(depth - 1);
    const { name, entry, leaf } = level;
    const known = this.#rules.baseline.get(name);
    const here = hostLeaf(leaf, known);
    const isFree = (await markIn(parent, here)) === undefined;
    const own = isFree ? here : await this.#nameBeside(parent, name, leaf);
    await mkdir(within(parent, own), 0o700);
    this.result.written += 1;
    level.folder = await open(within(parent, own), FOLDER);
    level.isMade = true;
    const beside = own.equals(leaf) ? undefined : own.toString('latin1');
    this.#rules.baseline.set(name, { guest: guestMark(entry), host: { type: 'folder' }, beside });
    if (beside !== undefined && (await markIn(parent, leaf)) !== undefined) this.#tellConflict(name, beside);
    return level.folder;
  }

  /** Gives what has come its name, or one beside it where this host has something of its own. */
  async #settle(folder: FileHandle, { entry, name, leaf, known }: Spot, temporary: Buffer): Promise<void> {
    // The guest has a file where both had a folder: that goes first.
    if (known?.guest.type === 'folder') await this.#removeTree(name);
    const here = hostLeaf(leaf, known);
    const found = await markIn(folder, here);
    const isFree =
      found === undefined ||
      (found.type !== 'folder' && known?.host !== undefined && isAlike(known.host, found)) ||
      (await hasSameContent(folder, here, temporary));
    const own = isFree ? here : await this.#nameBeside(folder, name, leaf);
    if (isFree) await keepOwner(folder, here, temporary);
    await rename(within(folder, temporary), within(folder, own));
    this.result.written += 1;
    // From now on it is the guest's, and what has its name here is this host's own.
    const beside = own.equals(leaf) ? undefined : own.toString('latin1');
    this.#rules.baseline.set(name, { guest: guestMark(entry), host: await markIn(folder, own), beside });
    if (beside !== undefined && (await markIn(folder, leaf)) !== undefined) this.#tellConflict(name, beside);
  }

  /** A name that neither this host nor the guest has. */
  async #nameBeside(folder: FileHandle, name: string, leaf: Buffer): Promise<Buffer> {
    for (let count = 1; count <= MAX_COPIES; count++) {
      const end = Buffer.from(count === 1 ? this.#rules.suffix : `${this.#rules.suffix}.${count}`);
      const own = Buffer.concat([leaf.subarray(0, MAX_NAME_BYTES - end.length), end]);
      const isKnown = this.#rules.baseline.get(`${above(name)}${own.toString('latin1')}`) !== undefined;
      if (!isKnown && (await markIn(folder, own)) === undefined) return own;
    }
    throw new VmError('IO', `it has ${MAX_COPIES} copies from the guest beside it`);
  }

  /** @param beside its name here, if the guest has one that this host has not taken */
  #tellConflict(name: string, beside?: string): void {
    const folder = [this.#target, ...this.#here(above(name).split('/').slice(0, -1))];
    const shown = (leaf: string): string => {
      const [top = '', ...rest] = folder;
      return printable(Buffer.concat([Buffer.from(`${top}/`), bytes([...rest, leaf].join('/'))]).toString(), MAX_SHOWN);
    };
    const path = shown(name.slice(above(name).length));
    this.result.conflicts.push(beside === undefined ? { path } : { path, copy: shown(beside) });
  }

  /** The names that lead to something of the guest here. */
  #here(parts: readonly string[]): string[] {
    return parts.map((part, at) => this.#rules.baseline.get(parts.slice(0, at + 1).join('/'))?.beside ?? part);
  }

  /** Gives a file of the folder one more name. @returns false when this host has no such file any more */
  async #linkFile(linked: readonly Buffer[], temporary: Buffer): Promise<boolean> {
    const parts = this.#here(linked.map((part) => part.toString('latin1'))).map(bytes);
    const leaf = parts.pop() as Buffer;
    try {
      return await inFolderBelow(this.#top, parts, async (folder) => {
        if ((await markIn(folder, leaf))?.type !== 'file') return false;
        await link(within(folder, leaf), temporary);
        return true;
      });
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async #removeTree(top: string): Promise<void> {
    for (const name of this.#rules.baseline.depthFirst())
      if (name === top || name.startsWith(`${top}/`)) await this.#remove(name);
  }

  async #remove(name: string): Promise<void> {
    const { baseline } = this.#rules;
    const host = baseline.get(name)?.host;
    const parts = this.#here(name.split('/')).map(bytes);
    const leaf = parts.pop() as Buffer;
    try {
      if (host !== undefined)
        await inFolderBelow(this.#top, parts, async (folder) => {
          const found = await markIn(folder, leaf);
          if (found === undefined) return;
          if (!isAlike(host, found)) return this.#tellConflict(name);
          if (found.type !== 'folder') await unlink(within(folder, leaf));
          // What is new in it here stays.
          else if (!(await removeIfEmpty(folder, leaf))) return;
          this.result.removed += 1;
        });
    } catch (error) {
      if (!isMissing(error)) throw hostError(error, `${this.#target}/${Buffer.from(name, 'latin1').toString()}`);
    }
    baseline.delete(name);
  }

  get #top(): FileHandle {
    return (this.#levels[0] as Level).folder as FileHandle;
  }
}

/** What a guest's file is called here. */
function hostLeaf(leaf: Buffer, known: Known | undefined): Buffer {
  return known?.beside === undefined ? leaf : bytes(known.beside);
}

/** The folders that a name lies in, with a slash behind them; empty at the top. */
function above(name: string): string {
  return name.slice(0, name.lastIndexOf('/') + 1);
}

function bytes(name: string): Buffer {
  return Buffer.from(name, 'latin1');
}

async function setAttributes(handle: FileHandle, entry: TarEntry): Promise<void> {
  await handle.chmod(entry.mode & ~SET_ID_BITS);
  await handle.utimes(seconds(entry), seconds(entry));
}
