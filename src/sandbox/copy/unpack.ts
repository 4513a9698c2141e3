import { lchown, link, lstat, lutimes, mkdir, open, rename, symlink, unlink, type FileHandle } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import type { TarEntry } from '../../transports/tar/entry.ts';
import { readArchive } from '../../transports/tar/read-archive.ts';
import type { ArchiveRules, Place } from './archive-rules.ts';
import { FOLDER, inFolderBelow, SET_ID_BITS, seconds, temporaryName, within } from './below.ts';
import { hostError } from './host-error.ts';
import { IncomingFile } from './incoming-file.ts';
import { findTarget, type Target } from './target.ts';

interface Level {
  folder: FileHandle;
  /** a folder that we made gets its attributes when it is left */
  made: TarEntry | undefined;
}

/**
 * Unpacks an archive that nobody vouches for. Every name is opened from the descriptor of the folder it lies in and no link is
 * followed, so that nothing outside the target can be reached; a file takes its name when it is whole.
 * @throws {VmError} ARCHIVE_INVALID, COPY_LIMIT, FILE_NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, IO; what the source throws
 */
export async function unpackArchive(
  source: AsyncIterable<Buffer>,
  target: string,
  rules: ArchiveRules,
  keepOwners: boolean,
): Promise<void> {
  const unpacker = new Unpacker(target, rules, keepOwners);
  try {
    await readArchive(source, unpacker);
    await unpacker.leaveTo(0);
  } finally {
    await unpacker.close();
  }
}

class Unpacker {
  readonly #target: string;
  readonly #rules: ArchiveRules;
  readonly #keepOwners: boolean;
  readonly #asRoot: boolean = process.geteuid?.() === 0;
  #place: Target | undefined;
  readonly #levels: Level[] = [];
  #file: { incoming: IncomingFile; folder: FileHandle; leaf: Buffer } | undefined;

  constructor(target: string, rules: ArchiveRules, keepOwners: boolean) {
    this.#target = target;
    this.#rules = rules;
    this.#keepOwners = keepOwners;
  }

  async entry(entry: TarEntry): Promise<void> {
    const place = this.#rules.place(entry);
    const { depth } = place;
    await this.leaveTo(depth);
    if (depth === 0) this.#place = await findTarget(this.#target, entry);
    const into = this.#place as Target;
    const folder = depth === 0 ? into.folder : (this.#levels[depth - 1] as Level).folder;
    const leaf = depth === 0 ? into.leaf : place.leaf;
    try {
      if (leaf === undefined) this.#levels.push({ folder: into.takeFolder(), made: undefined });
      else if (entry.type === 'folder') await this.#makeFolder(folder, leaf, entry);
      else if (entry.type === 'file') await this.#beginFile(folder, leaf, entry);
      else await this.#makeLink(folder, leaf, entry, place);
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
    const { incoming, folder, leaf } = file;
    try {
      await incoming.finish((handle) => this.#setAttributes(handle, incoming.entry));
      await rename(within(folder, incoming.temporary), within(folder, leaf));
      this.#file = undefined;
    } catch (error) {
      throw nameTaken(error, incoming.entry);
    }
  }

  /** Leaves the folders below a depth. */
  async leaveTo(depth: number): Promise<void> {
    while (this.#levels.length > depth) {
      const { folder, made } = this.#levels.pop() as Level;
      try {
        if (made !== undefined) await this.#setAttributes(folder, made);
      } catch (error) {
        throw hostError(error, made?.name ?? '');
      } finally {
        await folder.close();
      }
    }
  }

  /** Closes everything. A file that isn't whole is removed. */
  async close(): Promise<void> {
    await this.#file?.incoming.discard();
    for (const { folder } of this.#levels.splice(0)) await folder.close();
    await this.#place?.close();
  }

  async #makeFolder(parent: FileHandle, leaf: Buffer, entry: TarEntry): Promise<void> {
    const path = within(parent, leaf);
    let made: TarEntry | undefined = entry;
    try {
      await mkdir(path, 0o700);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      made = undefined;
    }
    try {
      this.#levels.push({ folder: await open(path, FOLDER), made });
    } catch (error) {
      throw hostError(error, entry.name, 'a link or a file is where a folder should be');
    }
  }

  async #beginFile(folder: FileHandle, leaf: Buffer, entry: TarEntry): Promise<void> {
    this.#file = { incoming: await IncomingFile.begin(folder, entry), folder, leaf };
  }

  async #makeLink(folder: FileHandle, leaf: Buffer, entry: TarEntry, place: Place): Promise<void> {
    const temporary = within(folder, temporaryName());
    if (entry.type === 'symlink') await symlink(entry.link, temporary);
    else await this.#linkFile(place.linked, temporary);
    try {
      if (entry.type === 'symlink') {
        if (this.#keepOwners && this.#asRoot) await lchown(temporary, entry.uid, entry.gid);
        await lutimes(temporary, seconds(entry), seconds(entry));
      }
      await rename(temporary, within(folder, leaf));
    } catch (error) {
      await unlink(temporary);
      throw nameTaken(error, entry);
    }
    // The rename to another name of the same file does nothing: then the first name is left over.
    if (entry.type === 'hardlink') await unlink(temporary).catch(unlessMissing);
  }

  /** Gives a file of the archive one more name. */
  async #linkFile(parts: readonly Buffer[], temporary: Buffer): Promise<void> {
    const leaf = parts.at(-1) as Buffer;
    await inFolderBelow((this.#levels[0] as Level).folder, parts.slice(0, -1), async (folder) => {
      const path = within(folder, leaf);
      const found = await lstat(path);
      if (!found.isFile())
        throw new VmError('ARCHIVE_INVALID', 'a hard link in the archive from the guest points to what is no file');
      await link(path, temporary);
    });
  }

  async #setAttributes(handle: FileHandle, entry: TarEntry): Promise<void> {
    if (this.#keepOwners && this.#asRoot) await handle.chown(entry.uid, entry.gid);
    await handle.chmod(this.#keepOwners ? entry.mode : entry.mode & ~SET_ID_BITS);
    await handle.utimes(seconds(entry), seconds(entry));
  }
}

function nameTaken(error: unknown, { name }: TarEntry): VmError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const isFolder = ['EISDIR', 'ENOTEMPTY', 'EEXIST'].includes(code);
  return hostError(error, name, isFolder ? 'a folder has this name' : undefined);
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
