import { readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { fileError } from '../config/file-error.ts';
import { readToml, type TomlDocument, type TomlEntry } from '../toml/document.ts';

/** Kata's file and its drop-in files, as one. */
export interface MergedFiles {
  /** the file, its links followed */
  readonly file: string;
  readonly dropIns: readonly string[];
  /** the keys that count, in the order in which they were first seen */
  readonly entries: readonly TomlEntry[];
  /** keys that a later file sets again, each with the one that counts */
  readonly overridden: readonly { readonly entry: TomlEntry; readonly by: TomlEntry }[];
  /** headings of all files */
  readonly tables: TomlDocument['tables'];
}

/** Beside the configuration file, read in the order of the names' bytes, whatever the names are. */
const DROP_IN_FOLDER = 'config.d';

/** Reads the file and, as today's Kata does, every file of the folder `config.d` beside it: the later one wins, key by key. */
export async function readMerged(file: string, withDropIns: boolean): Promise<MergedFiles> {
  const real = await realpath(file).catch((cause: unknown) => {
    throw fileError(cause, 'configuration file', file);
  });
  const dropIns = withDropIns ? await listDropIns(path.join(path.dirname(real), DROP_IN_FOLDER)) : [];
  const documents: TomlDocument[] = [];
  for (const each of [real, ...dropIns]) documents.push(await readToml(each));
  return { file: real, dropIns, ...merge(documents), tables: documents.flatMap(({ tables }) => tables) };
}

async function listDropIns(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map((it) => path.join(folder, it));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw fileError(cause, 'drop-in files', folder);
  }
}

function merge(documents: readonly TomlDocument[]): Pick<MergedFiles, 'entries' | 'overridden'> {
  const counting = new Map<string, TomlEntry>();
  const overridden: { entry: TomlEntry; by: TomlEntry }[] = [];
  for (const { entries } of documents) {
    // An array of tables is one value: a drop-in file that has it replaces it as a whole.
    const arrays = new Map(entries.filter(isInArray).map((entry) => [arrayName(entry), entry]));
    for (const [key, entry] of counting) {
      const by = isInArray(entry) ? arrays.get(arrayName(entry)) : undefined;
      if (by === undefined) continue;
      counting.delete(key);
      overridden.push({ entry, by });
    }
    for (const entry of entries) {
      const key = JSON.stringify(entry.path);
      const earlier = counting.get(key);
      if (earlier !== undefined) overridden.push({ entry: earlier, by: entry });
      counting.set(key, entry);
    }
  }
  return { entries: [...counting.values()], overridden };
}

function isInArray({ path: names }: TomlEntry): boolean {
  return names.some((name) => /^\d+$/.test(name));
}

function arrayName({ path: names }: TomlEntry): string {
  return JSON.stringify(
    names.slice(
      0,
      names.findIndex((name) => /^\d+$/.test(name)),
    ),
  );
}
