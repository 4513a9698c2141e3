import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** Folders in node_modules of these packages and of all that they need, of those that are installed. */
export function packageFolders(names: readonly string[], root = 'node_modules'): string[] {
  const found = new Set<string>();
  const visit = (name: string, from: string): void => {
    // A package may have a copy of its own in its own node_modules.
    const folder = [path.join(from, 'node_modules', name), path.join(root, name)].find((place) => existsSync(place));
    if (folder === undefined || found.has(folder)) return;
    found.add(folder);
    const { dependencies, optionalDependencies } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    ) as Manifest;
    for (const need of Object.keys({ ...dependencies, ...optionalDependencies })) visit(need, folder);
  };
  for (const name of names) visit(name, '.');
  // A copy of its own comes with the package that has it.
  return [...found].filter((folder) => ![...found].some((other) => folder.startsWith(`${other}/`)));
}
