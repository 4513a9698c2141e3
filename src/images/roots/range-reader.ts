import { type FileHandle, open } from 'node:fs/promises';
import { hostError } from './host-error.ts';

/** Large enough that many small files come with one read. */
const windowBytes = 1 << 20;

/**
 * Reads pieces of files of the host, mostly one behind the other: keeps the file open that was read last, and a window of it in memory.
 */
export class RangeReader implements AsyncDisposable {
  #file: string | undefined;
  #handle: FileHandle | undefined;
  #start = 0;
  #window: Buffer = Buffer.alloc(0);

  /**
   * The bytes from `offset` on, at most 1 MiB of them; valid until the next read. Fewer are there only at the file's end.
   * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE
   */
  async read(file: string, offset: number, length: number): Promise<Buffer> {
    try {
      await this.#open(file);
      if (offset < this.#start || offset + length > this.#start + this.#window.length) await this.#fill(offset, length);
    } catch (cause) {
      throw hostError(file, cause);
    }
    return this.#window.subarray(offset - this.#start, offset - this.#start + length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    this.#file = undefined;
  }

  async #open(file: string): Promise<void> {
    if (this.#file === file) return;
    await this[Symbol.asyncDispose]();
    this.#window = Buffer.alloc(0);
    this.#handle = await open(file, 'r');
    this.#file = file;
  }

  async #fill(offset: number, length: number): Promise<void> {
    const window = Buffer.allocUnsafe(Math.max(length, windowBytes));
    let filled = 0;
    while (filled < window.length) {
      const { bytesRead = 0 } =
        (await this.#handle?.read(window, filled, window.length - filled, offset + filled)) ?? {};
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    this.#start = offset;
    this.#window = window.subarray(0, filled);
  }
}
