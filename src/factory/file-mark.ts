import { createHash } from 'node:crypto';
import { type BigIntStats, createReadStream, readFileSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { VmError } from '../errors.ts';

/** By what a file is known again. */
export interface FileMark {
  bytes: number;
  /** of the last change, in milliseconds since the epoch; compared only where there is no hash */
  modifiedMs?: number | undefined;
  /** SHA-256, hexadecimal; absent for memory that every clone would have to read all of */
  sha256?: string | undefined;
}

/** Files up to this size are read as a whole: what a VMM saves of its devices is smaller. */
const atOnce = 2 ** 20;

/** @param hashed whether its content is read. @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE */
export async function markFile(file: string, hashed: boolean = true): Promise<FileMark> {
  const { size, mtimeMs } = look(file);
  return { bytes: size, modifiedMs: mtimeMs, ...(hashed ? { sha256: await hashOf(file) } : {}) };
}

/** Marks of all files in a folder, by name. @param hashedBytes content of larger ones is not read. @throws {VmError} as `markFile` does */
export async function markFolder(folder: string, hashedBytes: number): Promise<Record<string, FileMark>> {
  const marks: Record<string, FileMark> = {};
  for (const name of (await readdir(folder)).toSorted()) {
    const file = path.join(folder, name);
    marks[name] = await markFile(file, look(file).size <= hashedBytes);
  }
  return marks;
}

/** How a file is another one than it was, in words; undefined when it is the same. @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE */
export async function changeOf(file: string, { bytes, modifiedMs, sha256 }: FileMark): Promise<string | undefined> {
  const { size, mtimeMs } = look(file);
  if (size !== bytes) return `has ${size} bytes, and had ${bytes}`;
  const same = sha256 === undefined ? mtimeMs === modifiedMs : (await hashOf(file)) === sha256;
  return same ? undefined : 'has changed';
}

/** By the call that takes microseconds: a clone looks at several files, and a detour over Node's threads takes each time a hundred times as long. */
function look(file: string): { size: number; mtimeMs: number } {
  try {
    return statSync(file);
  } catch (error) {
    return fail(file, error);
  }
}

/** Hashes that were found, of files as they were then: the clones of a template all look at the same ones. */
const found = new Map<string, string>();
const maxFound = 256;

/** A file's time of change is that of the clock's last tick: one that was changed just now may change again without a sign. */
const settledMs = 1000;

async function hashOf(file: string): Promise<string> {
  const { dev, ino, size, ctimeNs, ctimeMs } = statOf(file);
  const state = `${dev}:${ino}:${size}:${ctimeNs}`;
  const known = found.get(state);
  if (known !== undefined) return known;
  const isSettled = Date.now() - Number(ctimeMs) > settledMs;
  const hash = await readHash(file, Number(size));
  if (found.size >= maxFound) found.clear();
  if (isSettled) found.set(state, hash);
  return hash;
}

function statOf(file: string): BigIntStats {
  try {
    return statSync(file, { bigint: true });
  } catch (error) {
    return fail(file, error);
  }
}

async function readHash(file: string, size: number): Promise<string> {
  const hash = createHash('sha256');
  if (size <= atOnce) {
    try {
      return hash.update(readFileSync(file)).digest('hex');
    } catch (error) {
      fail(file, error);
    }
  }
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash).catch((error: unknown) => fail(file, error));
  return hash.digest('hex');
}

function fail(file: string, error: unknown): never {
  const { code: errno, message } = error as NodeJS.ErrnoException;
  const missing = errno === 'ENOENT' || errno === 'ENOTDIR';
  throw new VmError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `${file}: ${message}`, {
    path: file,
    errno,
    cause: error,
    advice: missing ? 'Make it again: what lies in tmpfs is gone when the host has rebooted.' : undefined,
  });
}
