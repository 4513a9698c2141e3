import { access } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

/** The name of polyvisor's own configuration file. */
export const OWN_FILE = 'polyvisor.toml';

/** A file that is read when it is there. */
export interface OwnPlace {
  readonly file: string;
  readonly of: 'system' | 'user' | 'project';
}

/** Where files of our own are looked for, in the order in which they are read: the later one wins. */
export function ownPlaces(env: NodeJS.ProcessEnv, folder: string): OwnPlace[] {
  const xdg = env['XDG_CONFIG_HOME'];
  // The specification of these folders has relative ones ignored.
  const user = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(env['HOME'] ?? os.homedir(), '.config');
  return [
    { file: path.join('/etc/polyvisor', OWN_FILE), of: 'system' },
    { file: path.join(user, 'polyvisor', OWN_FILE), of: 'user' },
    ...ancestors(folder).map((it) => ({ file: path.join(it, OWN_FILE), of: 'project' as const })),
  ];
}

/** The folders above one, the outermost first. */
function ancestors(folder: string): string[] {
  const above = path.dirname(folder);
  return above === folder ? [folder] : [...ancestors(above), folder];
}

/** Those that exist; of the project's the innermost only. */
export async function existingPlaces(places: readonly OwnPlace[]): Promise<OwnPlace[]> {
  const there = await Promise.all(places.map(({ file }) => isThere(file)));
  const found = places.filter((_, at) => there[at] === true);
  const project = found.filter(({ of }) => of === 'project').at(-1);
  return [...found.filter(({ of }) => of !== 'project'), ...(project === undefined ? [] : [project])];
}

// One that may not be read is there, and an error when it is read.
async function isThere(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'ENOENT' && code !== 'ENOTDIR';
  }
}
