import type { BigIntStats, Dirent } from 'node:fs';
import { constants } from 'node:fs';
import { lstat, open, opendir, readlink, stat } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import { printable } from '../../guest/printable.ts';
import { paddingOf, type TarEntry } from '../../transports/tar/entry.ts';
import { TAR_TRAILER, tarHeaders } from '../../transports/tar/writer.ts';
import { hostError } from './host-error.ts';

/** Read at once of a large file, in bytes. */
const READ_BYTES = 262_144;
/** Headers and small files leave in pieces of about this size, in bytes. */
const GATHER_BYTES = 65_536;
const NONE = Buffer.alloc(0);
const SLASH = Buffer.from('/');

export interface PackOptions {
  /** the name of the archive's one entry; `.`: the content of a folder */
  top: string;
  /** owners are kept; root's otherwise */
  archive: boolean;
  /** a link that is the source itself stands for what it points to */
  followLink: boolean;
  /** hears of each entry before it is in the archive, and of what it was made */
  onEntry?: ((entry: TarEntry, found: BigIntStats) => void) | undefined;
}

/** A file or a tree of this host as a tar archive, that is read as far as somebody takes it. */
export class HostArchive {
  readonly #source: Buffer;
  readonly #options: PackOptions;
  /** names of files that have several, by what they are */
  readonly #links = new Map<string, Buffer>();
  /** names of sockets, fifos and devices, at most {@link MAX_NAMES}, and how many there were */
  readonly skipped: string[] = [];
  skippedCount = 0;

  constructor(source: string, options: PackOptions) {
    this.#source = Buffer.from(source);
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    let gathered: Buffer[] = [];
    let bytes = 0;
    for await (const piece of this.#pieces()) {
      if (piece.length >= READ_BYTES / 2 && bytes === 0) {
        yield piece;
        continue;
      }
      gathered.push(piece);
      bytes += piece.length;
      if (bytes < GATHER_BYTES) continue;
      yield gathered.length === 1 ? piece : Buffer.concat(gathered, bytes);
      gathered = [];
      bytes = 0;
    }
    yield Buffer.concat(gathered, bytes);
  }

  async *#pieces(): AsyncGenerator<Buffer, void, undefined> {
    const { top, followLink } = this.#options;
    const found = await fsCall(this.#source, () => (followLink ? stat : lstat)(this.#source, { bigint: true }));
    if (!(found.isFile() || found.isDirectory() || found.isSymbolicLink())) {
      const path = this.#source.toString();
      throw new VmError('FILE_INVALID', `${path} is a socket, a fifo or a device: these are not copied`, { path });
    }
    yield* this.#node(this.#source, Buffer.from(top), found);
    yield TAR_TRAILER;
  }

  async *#node(path: Buffer, name: Buffer, found: BigIntStats): AsyncGenerator<Buffer, void, undefined> {
    if (found.isDirectory()) yield* this.#folder(path, Buffer.concat([name, SLASH]), found);
    else if (found.isFile()) yield* this.#file(path, name);
    else if (found.isSymbolicLink()) {
      const link = await fsCall(path, () => readlink(path, { encoding: 'buffer' }));
      yield this.#headers({ ...this.#entry('symlink', name, found), link }, found);
    } else {
      this.skippedCount += 1;
      if (this.skipped.length < MAX_NAMES) this.skipped.push(printable(name.toString()));
    }
  }

  async *#folder(path: Buffer, name: Buffer, found: BigIntStats): AsyncGenerator<Buffer, void, undefined> {
    yield this.#headers(this.#entry('folder', name, found), found);
    // The type of opendir knows of no names that are bytes.
    const folder = await fsCall(path, () =>
      opendir(path as unknown as string, { encoding: 'buffer' as BufferEncoding }),
    );
    for await (const item of folder as unknown as AsyncIterable<Dirent<Buffer>>) {
      const inside = Buffer.concat([path, SLASH, item.name]);
      const child = await unlessGone(() => fsCall(inside, () => lstat(inside, { bigint: true })));
      if (child !== undefined) yield* this.#node(inside, Buffer.concat([name, item.name]), child);
    }
  }

  async *#file(path: Buffer, name: Buffer): AsyncGenerator<Buffer, void, undefined> {
    const follow = this.#options.followLink && path === this.#source ? 0 : constants.O_NOFOLLOW;
    // Should a fifo take the file's place now, the open must not wait for a writer.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | follow;
    const file = await fsCall(path, () => open(path, flags));
    try {
      const found = await file.stat({ bigint: true });
      const first = this.#linkOf(found, name);
      if (first !== undefined) {
        yield this.#headers({ ...this.#entry('hardlink', name, found), link: first }, found);
        return;
      }
      const size = Number(found.size);
      yield this.#headers({ ...this.#entry('file', name, found), size }, found);
      for (let left = size; left > 0;) {
        const buffer = Buffer.allocUnsafeSlow(Math.min(left, READ_BYTES));
        const { bytesRead } = await fsCall(path, () => file.read(buffer, 0, buffer.length, null));
        if (bytesRead === 0) throw new VmError('IO', `${path.toString()} became shorter while it was read`);
        left -= bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
      if (paddingOf(size) > 0) yield Buffer.alloc(paddingOf(size));
    } finally {
      await file.close();
    }
  }

  /** The name under which this very file is in the archive already. */
  #linkOf({ nlink, dev, ino }: BigIntStats, name: Buffer): Buffer | undefined {
    if (nlink < 2n) return undefined;
    const key = `${dev}:${ino}`;
    const first = this.#links.get(key);
    if (first === undefined) this.#links.set(key, name);
    return first;
  }

  #headers(entry: TarEntry, found: BigIntStats): Buffer {
    this.#options.onEntry?.(entry, found);
    return tarHeaders(entry);
  }

  #entry(type: TarEntry['type'], name: Buffer, { mode, uid, gid, mtimeNs }: BigIntStats): TarEntry {
    const owner = this.#options.archive ? { uid: Number(uid), gid: Number(gid) } : { uid: 0, gid: 0 };
    return { type, name, link: NONE, mode: Number(mode & 0o7777n), ...owner, mtimeNs, size: 0 };
  }
}

const MAX_NAMES = 10;

async function fsCall<T>(path: Buffer, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw hostError(error, path);
  }
}

/** What vanished since its folder was read isn't in that folder. */
async function unlessGone<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof VmError && error.facts.errno === 'ENOENT') return undefined;
    throw error;
  }
}
