import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import { afterAll, expect, it } from 'vitest';
import { rules } from '../../scripts/arch/rules.ts';
import { readTree } from '../../scripts/arch/tree.ts';
import { agentBinary } from '../../src/config/package-files.ts';
import type { HypervisorModule } from '../../src/hypervisors/hypervisor.ts';
import { describeHypervisor } from './hypervisor.ts';

// The driver of docs/new-driver.md, as the page has it: compiled in its place in the source, and held against the suite on a program
// that plays its VMM.

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(path.join(root, 'docs/new-driver.md'), 'utf8');
const blocks = [...page.matchAll(/^```ts\n\/\/ (\S+\.ts)\n([^]*?)^```$/gm)].map(
  ([, name = '', text = '']): [name: string, text: string] => [name, text],
);
const [registryLine = '', kataLine = ''] = [...page.matchAll(/^```ts\n( {2}minivmm: .*\n)```$/gm)].map(
  ([, line]) => line,
);
const scratch = mkdtempSync(path.join(tmpdir(), 'new-driver-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** The source as the page says to change it, by path below the root. */
function changed(): Map<string, string> {
  const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
  const after = (text: string, what: string, added: string): string => {
    expect(text).toContain(what);
    return text.replace(what, `${what}${added}`);
  };
  const [registry, types] = ['src/hypervisors/registry.ts', 'src/config/hypervisor-type.ts'];
  const kata = 'src/kata/vmm-rules.ts';
  const lastLoaded = "  mock: async () => (await import('./mock/index.ts')).mock,\n";
  const lastRules = "  mock: { defaults: { '1.x': {}, today: {} }, noGuest: true },\n";
  const named = after(read(types), "'clh' | 'mock'", " | 'minivmm'");
  return new Map([
    ...blocks.map(([name, text]): [string, string] => [`src/hypervisors/minivmm/${name}`, text]),
    ['src/hypervisors/minivmm/README.md', '# Minivmm\n'],
    [registry, after(read(registry), lastLoaded, registryLine)],
    [kata, after(read(kata), lastRules, kataLine)],
    [types, after(named, "'acrn', 'mock'", ", 'minivmm'")],
  ]);
}

it('compiles, and the rest of the source has a place for it', () => {
  const files = new Map([...changed()].map(([file, text]) => [path.join(root, file), text]));
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) => readFileSync(file, 'utf8'));
  const { options } = ts.parseJsonConfigFileContent(config, { ...ts.sys, readDirectory: () => [] }, root);
  const host = ts.createCompilerHost({ ...options, incremental: false });
  const [fileExists, readFile, getSourceFile] = [host.fileExists, host.readFile, host.getSourceFile];
  host.fileExists = (file) => files.has(file) || fileExists(file);
  const folderExists = host.directoryExists;
  const folder = path.join(root, 'src/hypervisors/minivmm');
  host.directoryExists = (name) => name === folder || (folderExists?.(name) ?? true);
  host.readFile = (file) => files.get(file) ?? readFile(file);
  host.getSourceFile = (file, target, ...others) => {
    const text = files.get(file);
    return text === undefined ? getSourceFile(file, target, ...others) : ts.createSourceFile(file, text, target);
  };
  const entries = ['src/index.ts', 'src/cli/main.ts', 'src/hypervisors/registry.ts'].map((file) =>
    path.join(root, file),
  );
  const { tsBuildInfoFile: _, ...rest } = options;
  const program = ts.createProgram(entries, { ...rest, incremental: false }, host);
  const found = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    return `${path.relative(root, file?.fileName ?? '')}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
  expect(found).toEqual([]);
  expect(program.getSourceFile(path.join(root, 'src/hypervisors/minivmm/driver.ts'))).toBeDefined();
}, 60_000);

it('keeps the rules of the architecture', () => {
  const files = changed();
  const { files: others, read } = readTree(root);
  const tree = {
    root,
    files: [...new Set([...others, ...files.keys()])],
    read: (file: string) => files.get(file) ?? read(file),
  };
  const broken = Object.entries(rules).flatMap(([name, rule]) => rule(tree).map((problem) => `${name}: ${problem}`));
  expect(broken).toEqual([]);
});

/** The page's files in a folder of their own, with the source that they import at its real place. @returns the module */
async function load(): Promise<HypervisorModule> {
  const folder = path.join(scratch, 'minivmm');
  mkdirSync(folder);
  const source = path.join(root, 'src');
  for (const [name, text] of blocks) {
    const absolute = text.replaceAll(/from '\.\.\/(\.\.\/)?/g, (_, further) =>
      further === undefined ? `from '${source}/hypervisors/` : `from '${source}/`,
    );
    writeFileSync(path.join(folder, name), absolute);
  }
  const { minivmm } = (await import(pathToFileURL(path.join(folder, 'index.ts')).href)) as {
    minivmm: HypervisorModule;
  };
  return minivmm;
}

/** Plays minivmm: the agent is its guest. */
const program = path.join(scratch, 'minivmm-1.0');
writeFileSync(
  program,
  `#!/bin/sh
[ "$1" = --version ] && { echo 'minivmm 1.0.0'; exit; }
while [ $# -gt 0 ]; do
  case $1 in --config) folder=\${2%/*} ;; esac
  shift 2
done
exec '${agentBinary}' --host "$folder" --channels 8
`,
  { mode: 0o755 },
);
const image = path.join(scratch, 'image');
writeFileSync(image, 'a kernel, or an initrd');

describeHypervisor(await load(), {
  accel: 'kvm',
  variant: 'of the page',
  config: async () => ({ hypervisorPath: program, kernel: image, initrd: image, vcpus: 2, memoryMiB: 256 }),
});
