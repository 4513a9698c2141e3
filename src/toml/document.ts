import { isUtf8 } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import { fileError } from '../config/file-error.ts';
import { VmError } from '../errors.ts';
import { type Place, wrongAt } from './place.ts';
import type { AST } from 'toml-eslint-parser';

/** A value in a TOML file, with its kind: TOML tells whole numbers from others. */
export type TomlValue =
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'integer'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'date'; readonly value: string }
  | { readonly kind: 'array'; readonly value: readonly TomlValue[] }
  | { readonly kind: 'table'; readonly value: readonly TomlEntry[] };

/** A key and its value. Tables are taken apart: the path has the names of all tables around the key. */
export interface TomlEntry {
  /** Tables of an array of tables are numbered: `['images', '0', 'name']`. */
  readonly path: readonly string[];
  readonly value: TomlValue;
  readonly place: Place;
}

/** What a TOML file says, in its order. */
export interface TomlDocument {
  readonly file: string;
  readonly entries: readonly TomlEntry[];
  /** The headings, whether or not keys follow. */
  readonly tables: readonly Pick<TomlEntry, 'path' | 'place'>[];
}

/** A configuration is some hundred lines; more is a mistake, or meant to keep us busy. */
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * Reads a TOML 1.0 file of at most 1 MiB.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID; INVALID_CONFIG with the line where it is no TOML
 */
export async function readToml(file: string): Promise<TomlDocument> {
  return parseToml(await readBytes(file), file);
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    const found = await stat(file);
    if (found.isFile() && found.size <= MAX_FILE_BYTES) return await readFile(file);
    if (!found.isDirectory()) {
      const problem = found.isFile() ? `is larger than ${MAX_FILE_BYTES} bytes` : 'is not a regular file';
      throw new VmError('FILE_INVALID', `configuration file: ${file} ${problem}`, { path: file });
    }
  } catch (cause) {
    if (cause instanceof VmError) throw cause;
    throw fileError(cause, 'configuration file', file);
  }
  throw new VmError('FILE_INVALID', `configuration file: ${file} is a folder, a file is needed`, { path: file });
}

/**
 * The same of text that has been read.
 * @throws {VmError} INVALID_CONFIG with the line where it is no TOML
 */
export async function parseToml(bytes: Uint8Array | string, file: string): Promise<TomlDocument> {
  const text = typeof bytes === 'string' ? bytes : decode(bytes, file);
  const { parseTOML } = await import('toml-eslint-parser');
  try {
    const top = parseTOML(text, { tomlVersion: '1.0' }).body[0];
    return new Reader(file, text).read(top);
  } catch (error) {
    // The parser descends, and runs out of stack where arrays stand some thousands deep in one another.
    if (error instanceof RangeError) throw wrongAt({ file, line: deepestLine(text), column: 1 }, 'too many brackets');
    if (!(error instanceof SyntaxError)) throw error;
    const { lineNumber = 1, column = 0 } = error as { lineNumber?: number; column?: number };
    throw wrongAt({ file, line: lineNumber, column: column + 1 }, `this is no TOML: ${error.message}`);
  }
}

function decode(bytes: Uint8Array, file: string): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return new TextDecoder('utf-8').decode(buffer);
  // A line break is never part of another character, so that the first wrong line can be found line by line.
  let line = 1;
  for (let start = 0; start < buffer.length; line++) {
    const end = buffer.indexOf(0x0a, start);
    if (end < 0 || !isUtf8(buffer.subarray(start, end))) break;
    start = end + 1;
  }
  throw wrongAt({ file, line, column: 1 }, 'this line is not UTF-8');
}

/** The line with the most brackets, which is the one to name when there are too many. */
function deepestLine(text: string): number {
  const counts = text.split('\n').map((line) => line.match(/[[{]/g)?.length ?? 0);
  return counts.indexOf(counts.reduce((most, count) => Math.max(most, count), 0)) + 1;
}

/** Walks the parser's tree. */
class Reader {
  readonly #file: string;
  readonly #text: string;
  readonly #entries: TomlEntry[] = [];
  readonly #tables: Pick<TomlEntry, 'path' | 'place'>[] = [];

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
  }

  read(top: AST.TOMLTopLevelTable): TomlDocument {
    for (const node of top.body) {
      if (node.type === 'TOMLKeyValue') this.#entries.push(...this.#pairs(node, []));
      else {
        const path = node.resolvedKey.map(String);
        this.#tables.push({ path, place: this.#place(node.key) });
        for (const pair of node.body) this.#entries.push(...this.#pairs(pair, path));
      }
    }
    return { file: this.#file, entries: this.#entries, tables: this.#tables };
  }

  #pairs({ key, value }: AST.TOMLKeyValue, above: readonly string[]): TomlEntry[] {
    const path = [...above, ...key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value))];
    if (value.type === 'TOMLInlineTable') {
      this.#tables.push({ path, place: this.#place(key) });
      return value.body.flatMap((pair) => this.#pairs(pair, path));
    }
    return [{ path, value: this.#value(value), place: this.#place(key) }];
  }

  #value(node: AST.TOMLContentNode): TomlValue {
    if (node.type === 'TOMLArray') return { kind: 'array', value: node.elements.map((it) => this.#value(it)) };
    if (node.type === 'TOMLInlineTable')
      return { kind: 'table', value: node.body.flatMap((pair) => this.#pairs(pair, [])) };
    switch (node.kind) {
      case 'string':
      case 'boolean':
      case 'integer':
      case 'float':
        return { kind: node.kind, value: node.value } as TomlValue;
      default:
        return { kind: 'date', value: this.#text.slice(...node.range) };
    }
  }

  #place({ loc }: AST.TOMLNode): Place {
    return { file: this.#file, line: loc.start.line, column: loc.start.column + 1 };
  }
}
