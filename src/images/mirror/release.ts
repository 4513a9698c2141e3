import type { FileRecord } from '../image.ts';

/** What a `Release` file says: which version of Debian it is of, until when it holds, and what each list must be. */
export interface Release {
  suite: string;
  codename: string;
  /** milliseconds since the epoch; absent: it holds for ever */
  validUntil: number | undefined;
  /** lists can be asked for by their digest, so that they are those of this very file */
  byHash: boolean;
  files: ReadonlyMap<string, FileRecord>;
}

/** Reads a `Release` file (https://wiki.debian.org/DebianRepository/Format). What is not understood is left out. */
export function parseRelease(text: string): Release {
  const fields = new Map<string, string>();
  const files = new Map<string, FileRecord>();
  let field = '';
  for (const line of text.split('\n')) {
    if (line.startsWith(' ')) {
      const [, sha256, size, path] = /^ ([0-9a-f]{64}) +(\d{1,12}) +(\S+)$/.exec(line) ?? [];
      if (field === 'SHA256' && sha256 !== undefined && path !== undefined)
        files.set(path, { sha256, size: Number(size) });
      continue;
    }
    const at = line.indexOf(':');
    field = line.slice(0, Math.max(0, at));
    fields.set(field, line.slice(at + 1).trim());
  }
  const until = fields.get('Valid-Until');
  return {
    suite: fields.get('Suite') ?? '',
    codename: fields.get('Codename') ?? '',
    // One that can't be read holds no longer.
    validUntil: until === undefined ? undefined : Date.parse(until) || 0,
    byHash: fields.get('Acquire-By-Hash') === 'yes',
    files,
  };
}
