import { mkdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../errors.ts';
import { writeUnflushed } from '../state/atomic-file.ts';
import { places } from '../state/paths.ts';

/*
 * What VMMs said of their versions, by the very file that said it. To ask means to start the VMM once more, which for QEMU and its
 * libraries takes as long as all the rest of a start.
 */

/** Programs that are remembered, the latest ones: a host has a handful. */
const maxKnown = 32;

/** Its change means that libraries were installed or removed: a program that ran may not run any more. */
const loaderCache = '/etc/ld.so.cache';

interface StoredVersions {
  schema: 1;
  versions: readonly { program: string; version: string }[];
}

/**
 * Names a program as it is now: another file, a changed one, or other libraries give another name. Undefined when it isn't there.
 * @param vmm what it is asked as
 */
export function programKey(vmm: string, file: string): string | undefined {
  const program = stamp(file);
  return program && `${vmm} ${file} ${program} ${stamp(loaderCache) ?? ''}`;
}

/** The version that this very program said, to this process or another one of the same user. */
export function knownVersion(key: string): string | undefined {
  return readKnown().find(({ program }) => program === key)?.version;
}

/** Remembers a version. One that can't be written down is asked for anew. */
export async function rememberVersion(key: string, version: string): Promise<void> {
  const others = readKnown().filter(({ program }) => program !== key);
  const stored: StoredVersions = { schema: 1, versions: [{ program: key, version }, ...others].slice(0, maxKnown) };
  try {
    mkdirSync(places().verdicts, { recursive: true, mode: 0o700 });
    await writeUnflushed(knownFile(), `${JSON.stringify(stored)}\n`);
  } catch (error) {
    const { code } = VmError.from(error, 'IO');
    if (code !== 'IO') throw error;
  }
}

function readKnown(): StoredVersions['versions'] {
  try {
    const stored = JSON.parse(readFileSync(knownFile(), 'utf8')) as Partial<StoredVersions> | null;
    return stored?.schema === 1 && Array.isArray(stored.versions) ? stored.versions : [];
  } catch {
    // Missing, or cut by a crash of the host.
    return [];
  }
}

function knownFile(): string {
  return path.join(places().verdicts, 'versions.json');
}

function stamp(file: string): string | undefined {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}:${found.size}:${found.ctimeNs}`;
}
