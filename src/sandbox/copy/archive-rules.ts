import { VmError } from '../../errors.ts';
import { printable } from '../../guest/printable.ts';
import type { TarEntry } from '../../transports/tar/entry.ts';
import { archiveError } from '../../transports/tar/reader.ts';

/** Folders inside each other; each is an open descriptor while it is unpacked. */
const MAX_DEPTH = 256;
const MAX_PART_BYTES = 255;

/** What a copy out of a guest may take at most. */
export interface CopyLimits {
  /** of all files together; default 64 GiB */
  bytes?: number | undefined;
  /** files, folders and links; default 1,000,000 */
  entries?: number | undefined;
}

const DEFAULTS = { bytes: 64 * 2 ** 30, entries: 1_000_000 };

/** Where an entry belongs in the tree. */
export interface Place {
  /** how many folders lie above it; 0 for the archive's own top */
  depth: number;
  /** its own name; that of the top is the archive's */
  leaf: Buffer;
  /** for a hard link: the names from below the top down to the file */
  linked: Buffer[];
}

/**
 * What an archive from a guest must keep to, whatever is done with it. It is one tree, told depth first: each entry lies in a
 * folder that is told of and not yet left. So no name can lead elsewhere, none comes twice, and no link stands for a folder.
 */
export class ArchiveRules {
  readonly #top: string;
  readonly #limits: Required<{ [K in keyof CopyLimits]: number }>;
  /** the folders that are not left: their names with a slash, and what was in them so far */
  readonly #levels: { path: string; seen: Set<string> }[] = [];
  #begun = false;
  #entries = 0;
  #bytes = 0;

  /** @param top the name of the one entry that the archive must hold, `.` for a folder's content; as latin1 */
  constructor(top: string, limits: CopyLimits = {}) {
    this.#top = top;
    this.#limits = { bytes: limits.bytes ?? DEFAULTS.bytes, entries: limits.entries ?? DEFAULTS.entries };
  }

  get entries(): number {
    return this.#entries;
  }

  /** of the files that were told of */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The place of the next entry.
   * @throws {VmError} ARCHIVE_INVALID, COPY_LIMIT
   */
  place(entry: TarEntry): Place {
    this.#count(entry);
    // One character for each byte.
    const name = entry.name.toString('latin1');
    const folder = entry.type === 'folder';
    if (folder !== name.endsWith('/')) throw refused(name, 'only the name of a folder ends with a slash');
    const bare = folder ? name.slice(0, -1) : name;
    const depth = this.#depthOf(bare);
    this.#levels.length = depth;
    const above = this.#levels[depth - 1];
    const leaf = bare.slice(above?.path.length ?? 0);
    if (above?.seen.has(leaf) === true) throw refused(name, 'it comes twice');
    above?.seen.add(leaf);
    if (folder) {
      if (depth >= MAX_DEPTH) throw refused(name, `it lies more than ${MAX_DEPTH} folders deep`);
      this.#levels.push({ path: name, seen: new Set() });
    }
    return { depth, leaf: Buffer.from(leaf, 'latin1'), linked: this.#linked(entry) };
  }

  /** How many of the folders lie above a name; throws when it is none that may come now. */
  #depthOf(name: string): number {
    if (!this.#begun) {
      this.#begun = true;
      if (name !== this.#top) throw refused(name, 'it is not what was asked for');
      return 0;
    }
    if (name.startsWith('/')) throw refused(name, 'it is absolute');
    const parts = name.split('/');
    checkParts(name, parts[0] === '.' ? parts.slice(1) : parts);
    const depth = parts.length - 1;
    const above = this.#levels[depth - 1];
    if (above === undefined || !name.startsWith(above.path)) throw refused(name, 'it lies in no folder of the archive');
    return depth;
  }

  #count({ size }: TarEntry): void {
    this.#entries += 1;
    this.#bytes += size;
    for (const [what, count] of [
      ['entries', this.#entries],
      ['bytes', this.#bytes],
    ] as const) {
      if (count <= this.#limits[what]) continue;
      throw new VmError('COPY_LIMIT', `the guest sends more than ${this.#limits[what]} ${what}`, {
        field: `limits.${what}`,
      });
    }
  }

  #linked({ type, name, link }: TarEntry): Buffer[] {
    if (type !== 'hardlink') return [];
    const path = link.toString('latin1');
    const [top, ...parts] = path.split('/');
    if (top !== this.#top || parts.length === 0 || this.#levels.length === 0 || link.equals(name))
      throw refused(path, 'a hard link points out of the archive');
    checkParts(path, parts);
    return parts.map((part) => Buffer.from(part, 'latin1'));
  }
}

function checkParts(name: string, parts: readonly string[]): void {
  for (const part of parts) {
    if (part === '..' || part === '.' || part === '') throw refused(name, 'it does not lead straight down');
    if (part.length > MAX_PART_BYTES) throw refused(name, `a part of it has ${part.length} bytes`);
  }
}

/** ARCHIVE_INVALID about one name, which is given as latin1. */
function refused(name: string, why: string): VmError {
  const text = printable(Buffer.from(name, 'latin1').toString());
  return archiveError(`${JSON.stringify(text)}: ${why}`);
}
