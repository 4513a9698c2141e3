import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';

/** A file of this host, and where it goes in the lab. Both absolute. */
export interface Cargo {
  from: string;
  to: string;
}

/** Where a program of this host is. */
export function locate(program: string): string {
  const folders = (process.env['PATH'] ?? '').split(':');
  const found = folders.map((folder) => path.join(folder, program)).find((candidate) => existsSync(candidate));
  if (found === undefined)
    throw new Error(`${program} is not on this host: ./scripts/test installs what the lab needs`);
  return realpathSync(found);
}

/** A program and the libraries that its loader would look for, each at the path by which it is asked for. */
export function programCargo(from: string, to: string): Cargo[] {
  return [{ from, to }, ...libraries(from).map((library) => ({ from: realpathSync(library), to: library }))];
}

/** The libraries of a package's native parts, such as those that vitest loads. */
export function addOnCargo(folder: string): Cargo[] {
  const addOns = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.node'));
  return addOns.flatMap((name) => libraries(path.join(folder, name))).map((to) => ({ from: realpathSync(to), to }));
}

/** A folder, and what libraries its programs need beside those of their own. @param own folder of these */
export function folderCargo(folder: string, to: string, programs: readonly string[], own: string): Cargo[] {
  const beside = programs
    .flatMap((program) => libraries(program, own))
    .filter((name) => !name.startsWith(`${folder}/`));
  return [{ from: folder, to }, ...[...new Set(beside)].map((name) => ({ from: realpathSync(name), to: name }))];
}

/** @param own folder in which the loader looks first */
function libraries(program: string, own?: string): string[] {
  const isScript = readFileSync(program).subarray(0, 2).toString() === '#!';
  if (isScript) return [];
  // ldd says "not a dynamic executable", and fails, for a static one.
  const text = tryRun('ldd', [program], own === undefined ? {} : { LD_LIBRARY_PATH: own });
  return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].flatMap(([, library]) => library ?? []);
}

function tryRun(program: string, argv: string[], env: Record<string, string>): string {
  try {
    return execFileSync(program, argv, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...env },
    });
  } catch {
    return '';
  }
}
