import type { Tree } from './tree.ts';

/** What every folder of a monitor holds, so that two of them can be read side by side. */
export const vmmFiles: readonly string[] = [
  'README.md',
  'capabilities.ts',
  'control.ts',
  'devices.ts',
  'driver.ts',
  'errors.ts',
  'fields.ts',
  'index.ts',
  'plan.ts',
  'probe.ts',
  'state.ts',
  'wire.ts',
];

/** More lines than this in one file are two ideas. */
const maxLines = 400;

const isSource = (file: string): boolean => /^src\/.*\.ts$/.test(file);
const isCode = (file: string): boolean => /\.(ts|js|cjs|c|h)$/.test(file);
/** The lock file's names and the licence's text are not ours to choose. */
const isOwnText = (file: string): boolean => !['package-lock.json', 'LICENSE'].includes(file);

/** Each rule lists what is wrong, one line each; an empty list is a pass. */
export const rules: Readonly<Record<string, (tree: Tree) => string[]>> = {
  'vmm-folders-are-alike': ({ files }) => {
    const problems: string[] = [];
    for (const [folder, names] of vmmFolders(files)) {
      for (const name of vmmFiles) if (!names.includes(name)) problems.push(`src/hypervisors/${folder}/ lacks ${name}`);
      for (const name of names) {
        // Parts of a file that outgrew its limit stand beside it under its name: plan.ts, plan-devices.ts.
        const isPart = vmmFiles.some((agreed) => agreed.endsWith('.ts') && name.startsWith(agreed.replace('.ts', '-')));
        if (!vmmFiles.includes(name) && !isPart)
          problems.push(`src/hypervisors/${folder}/${name} is not an agreed name`);
      }
    }
    return problems;
  },

  'registry-lists-every-folder': ({ files, read }) => {
    const folders = [...vmmFolders(files).keys()].toSorted();
    const registry = 'src/hypervisors/registry.ts';
    if (!files.includes(registry)) return folders.length > 0 ? [`${registry} is missing`] : [];
    const imported = [...read(registry).matchAll(/import\('\.\/([a-z0-9-]+)\/index\.ts'\)/g)].map(
      (match) => match[1] ?? '',
    );
    return [
      ...folders.filter((it) => !imported.includes(it)).map((it) => `${registry} does not load ${it}/`),
      ...imported.filter((it) => !folders.includes(it)).map((it) => `${registry} loads ${it}/, which does not exist`),
    ];
  },

  'no-comparison-with-a-vmm-name': (tree) => {
    const name = `['"\`](qemu|firecracker|clh|cloud-hypervisor|acrn|mock)['"\`]`;
    const comparison = new RegExp(`([=!]==?|\\bcase)\\s*${name}|${name}\\s*[=!]==?|(includes|has)\\(${name}\\)`);
    return matches(tree, comparison, (file) => isSource(file) && !file.startsWith('src/hypervisors/'));
  },

  'small-files': ({ files, read }) =>
    files
      .filter(isCode)
      // A rig is one interface of somebody else's, and is built from one file.
      .filter((file) => !file.startsWith('test/rigs/'))
      .map((file) => ({ file, lines: read(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > maxLines)
      .map(({ file, lines }) => `${file} has ${lines} lines, over ${maxLines}`),

  'no-grab-bag-names': ({ files }) =>
    files.filter((file) => /(^|\/)(utils?|helpers?|common|misc|shared)(\/|\.[a-z]+$)/.test(file)),

  'nothing-of-one-machine': (tree) => {
    // In pieces, so that this file passes its own rule.
    const words = [
      ['/wo', 'rk/'],
      ['/fa', 'rm/'],
      ['registry.', 'npmjs'],
      ['work', 'place'],
    ];
    const pattern = new RegExp(
      words
        .map((pieces) => pieces.join(''))
        .join('|')
        .replaceAll('.', '\\.'),
    );
    return matches(tree, pattern, (file) => isOwnText(file) && !/^test\/.*\.(bin|gz|zst)$/.test(file));
  },

  'lock-file-names-no-registry': ({ files, read }) =>
    files.includes('package-lock.json') && read('package-lock.json').includes('"resolved"')
      ? ['package-lock.json holds "resolved" entries: install with the .npmrc of this checkout']
      : [],

  'no-test-switched-off': (tree) =>
    matches(tree, /\b(it|test|describe)\.(skip|only|todo)\b/, (file) => file.startsWith('test/') && isCode(file)),

  'nothing-unfinished': (tree) => {
    const pattern = new RegExp(`\\b(${['TO', 'FIX', 'XX'].map((it, at) => it + ['DO', 'ME', 'X'][at]).join('|')})\\b`);
    return matches(tree, pattern, (file) => /^(src|bin|guest|scripts)\//.test(file) && isCode(file));
  },
};

/** Names in each folder of `src/hypervisors/`. */
function vmmFolders(files: readonly string[]): Map<string, string[]> {
  const folders = new Map<string, string[]>();
  for (const file of files) {
    const [, folder, name] = /^src\/hypervisors\/([^/]+)\/(.+)$/.exec(file) ?? [];
    if (folder !== undefined && name !== undefined) folders.set(folder, [...(folders.get(folder) ?? []), name]);
  }
  return folders;
}

function matches(tree: Tree, pattern: RegExp, which: (file: string) => boolean): string[] {
  return tree.files.filter(which).flatMap((file) =>
    tree
      .read(file)
      .split('\n')
      .flatMap((line, at) => (pattern.test(line) ? [`${file}:${at + 1}: ${line.trim().slice(0, 120)}`] : [])),
  );
}
