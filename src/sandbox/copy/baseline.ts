import type { BigIntStats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import { writeUnflushed } from '../../state/atomic-file.ts';
import type { TarEntry } from '../../transports/tar/entry.ts';

/** What a file is told by on one side. Two that are alike in it are taken for the same, as rsync does. */
export interface Mark {
  type: 'file' | 'folder' | 'symlink' | 'other';
  mode?: number | undefined;
  /** nanoseconds; absent where it says nothing */
  mtimeNs?: string | undefined;
  /** of a file; absent where it isn't known, as of a hard link in an archive */
  size?: number | undefined;
  /** what a symbolic link says, as latin1 */
  link?: string | undefined;
  /** of the host */
  inode?: string | undefined;
}

/** What is known of a name that both sides may have. */
export interface Known {
  /** as the guest was given it, or last gave it back */
  guest: Mark;
  /** the same of this host; absent: it has none, or one of its own that has nothing to do with the guest's */
  host?: Mark | undefined;
  /** the name that it has here, beside something of this host that has its own, as latin1 */
  beside?: string | undefined;
}

/** Names relative to the folder, as latin1, and what they stood for when both sides were last alike. */
export class Baseline {
  readonly #known: Map<string, Known>;

  constructor(known: Iterable<[string, Known]> = []) {
    this.#known = new Map(known);
  }

  get(name: string): Known | undefined {
    return this.#known.get(name);
  }

  set(name: string, known: Known): void {
    this.#known.set(name, known);
  }

  delete(name: string): void {
    this.#known.delete(name);
  }

  /** All names, what lies in a folder before the folder. */
  depthFirst(): string[] {
    return [...this.#known.keys()].toSorted().toReversed();
  }

  /** @throws {VmError} IO */
  async write(file: string): Promise<void> {
    const lines = [...this.#known].map(([name, { guest, host, beside }]) =>
      JSON.stringify([name, guest, host, beside]),
    );
    await writeUnflushed(file, `${[JSON.stringify({ schema: 1 }), ...lines].join('\n')}\n`);
  }

  /** @throws {VmError} STATE_INVALID when it is missing, or not what this version writes */
  static async read(file: string): Promise<Baseline> {
    try {
      const [first = '', ...lines] = (await readFile(file, 'utf8')).trimEnd().split('\n');
      if ((JSON.parse(first) as { schema?: unknown } | null)?.schema !== 1) throw new TypeError('another schema');
      return new Baseline(
        lines.map((line) => {
          const [name, guest, host, beside] = JSON.parse(line) as [string, Mark, Mark | null, string | null];
          return [name, { guest, host: host ?? undefined, beside: beside ?? undefined }];
        }),
      );
    } catch (error) {
      throw new VmError('STATE_INVALID', `${file} does not say what was copied into the guest`, {
        path: file,
        cause: error,
        advice: 'Copy what is needed out of the guest (`polyvisor cp`), and end the VM by force.',
      });
    }
  }
}

/** The name of an entry of an archive whose top is `.`, relative to that top, as latin1; empty for the top itself. */
export function nameOf({ name }: TarEntry): string {
  return name
    .toString('latin1')
    .replace(/^\.\/?/, '')
    .replace(/\/$/, '');
}

/** What an archive tells of a file. A folder's time says nothing that its content does not. */
export function guestMark(entry: TarEntry): Mark {
  const { mode, mtimeNs } = entry;
  switch (entry.type) {
    case 'folder':
      return { type: 'folder' };
    case 'symlink':
      return { type: 'symlink', link: entry.link.toString('latin1') };
    case 'hardlink':
      return { type: 'file', mode, mtimeNs: `${mtimeNs}` };
    case 'file':
      return { type: 'file', mode, mtimeNs: `${mtimeNs}`, size: entry.size };
  }
}

/** What this host tells of a file. @param link what it says, if it is a symbolic link */
export function hostMark(found: BigIntStats, link?: Buffer): Mark {
  if (found.isDirectory()) return { type: 'folder' };
  if (found.isSymbolicLink()) return { type: 'symlink', link: link?.toString('latin1') };
  if (!found.isFile()) return { type: 'other' };
  return { type: 'file', inode: `${found.ino}`, mtimeNs: `${found.mtimeNs}`, size: Number(found.size) };
}

/** Whether two are of the same file with the same content, as far as both tell. */
export function isAlike(one: Mark, other: Mark): boolean {
  if (one.type !== other.type || one.type === 'other') return false;
  return (['mode', 'mtimeNs', 'size', 'link', 'inode'] as const).every(
    (key) => one[key] === undefined || other[key] === undefined || one[key] === other[key],
  );
}
