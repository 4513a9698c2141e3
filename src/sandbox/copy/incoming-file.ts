import { constants } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import type { TarEntry } from '../../transports/tar/entry.ts';
import { temporaryName, within } from './below.ts';
import { hostError } from './host-error.ts';

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** Zeros of at least this many bytes become a hole. */
const HOLE_BYTES = 4096;

/** A file of an archive on its way into a folder: it has a temporary name until somebody gives it its own. */
export class IncomingFile {
  readonly entry: TarEntry;
  readonly temporary: Buffer = temporaryName();
  readonly #folder: FileHandle;
  #handle: FileHandle | undefined;
  #at = 0;

  private constructor(folder: FileHandle, entry: TarEntry) {
    this.#folder = folder;
    this.entry = entry;
  }

  static async begin(folder: FileHandle, entry: TarEntry): Promise<IncomingFile> {
    const file = new IncomingFile(folder, entry);
    file.#handle = await open(within(folder, file.temporary), NEW_FILE, 0o600);
    return file;
  }

  async write(data: Buffer): Promise<void> {
    const hole =
      data.length >= HOLE_BYTES && data[0] === 0 && data.compare(data, 1, data.length, 0, data.length - 1) === 0;
    try {
      for (let done = hole ? data.length : 0; done < data.length;) {
        const { bytesWritten } = await this.#open.write(data, done, data.length - done, this.#at + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw hostError(error, this.entry.name);
    }
    this.#at += data.length;
  }

  /** All of it has come: gives it its length and its attributes. */
  async finish(setAttributes: (handle: FileHandle) => Promise<void>): Promise<void> {
    const handle = this.#open;
    await handle.truncate(this.entry.size);
    await setAttributes(handle);
    this.#handle = undefined;
    await handle.close();
  }

  /** Removes it, whole or not. */
  async discard(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    await unlink(within(this.#folder, this.temporary));
  }

  get #open(): FileHandle {
    if (this.#handle === undefined) throw new TypeError('the file is whole already');
    return this.#handle;
  }
}
