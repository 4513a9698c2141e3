import { expect, test } from 'vitest';
import { rules, vmmFiles } from '../../../scripts/arch/rules.ts';
import type { Tree } from '../../../scripts/arch/tree.ts';

function tree(contents: Record<string, string>): Tree {
  return { root: '/nowhere', files: Object.keys(contents), read: (file) => contents[file] ?? '' };
}

function verdict(rule: string, contents: Record<string, string>): string[] {
  return rules[rule]?.(tree(contents)) ?? [`no rule ${rule}`];
}

const whole = Object.fromEntries(vmmFiles.map((name) => [`src/hypervisors/qemu/${name}`, '']));

test('a folder of a monitor has the agreed names, or parts of them', () => {
  expect(verdict('vmm-folders-are-alike', { ...whole, 'src/hypervisors/qemu/plan-disks.ts': '' })).toEqual([]);
  expect(verdict('vmm-folders-are-alike', { ...whole, 'src/hypervisors/qemu/extra.ts': '' })).toEqual([
    'src/hypervisors/qemu/extra.ts is not an agreed name',
  ]);
  const { 'src/hypervisors/qemu/probe.ts': _, ...lacking } = whole;
  expect(verdict('vmm-folders-are-alike', lacking)).toEqual(['src/hypervisors/qemu/ lacks probe.ts']);
});

test('the registry loads every folder and no other', () => {
  const registry = (text: string): Record<string, string> => ({ ...whole, 'src/hypervisors/registry.ts': text });
  expect(verdict('registry-lists-every-folder', registry("qemu: () => import('./qemu/index.ts')"))).toEqual([]);
  expect(verdict('registry-lists-every-folder', registry("import('./mock/index.ts')"))).toHaveLength(2);
  expect(verdict('registry-lists-every-folder', whole)).toEqual(['src/hypervisors/registry.ts is missing']);
});

test.each([
  ["if (name === 'qemu') x();", 1],
  ['if ("clh" != name) x();', 1],
  ["    case 'acrn':", 1],
  ["['qemu'].includes('mock')", 1],
  ["const fallback = 'qemu';", 0],
  ["// as 'qemu' does", 0],
])('a comparison with the name of a monitor: %s', (line, count) => {
  expect(verdict('no-comparison-with-a-vmm-name', { 'src/sandbox/vm.ts': line })).toHaveLength(count);
  expect(verdict('no-comparison-with-a-vmm-name', { 'src/hypervisors/registry.ts': line })).toEqual([]);
});

test('files are small', () => {
  expect(verdict('small-files', { 'src/a.ts': 'x\n'.repeat(400) })).toEqual([]);
  expect(verdict('small-files', { 'src/a.ts': 'x\n'.repeat(401) })).toEqual(['src/a.ts has 401 lines, over 400']);
});

test('names say what is inside', () => {
  expect(
    verdict('no-grab-bag-names', { 'src/utils/a.ts': '', 'src/cli/helpers.ts': '', 'src/common.ts': '' }),
  ).toHaveLength(3);
  expect(verdict('no-grab-bag-names', { 'src/cli/common-options.ts': '' })).toEqual([]);
});

test('nothing is tied to one machine or one registry', () => {
  const path = ['', 'work', 'main'].join('/');
  expect(verdict('nothing-of-one-machine', { 'docs/a.md': `see ${path}` })).toHaveLength(1);
  expect(verdict('nothing-of-one-machine', { 'docs/a.md': 'the guest mounts /workspace' })).toEqual([]);
  expect(verdict('lock-file-names-no-registry', { 'package-lock.json': '{ "resolved": "x" }' })).toHaveLength(1);
});

test('nothing is switched off or unfinished', () => {
  expect(verdict('no-test-switched-off', { 'test/unit/a.test.ts': ['test', 'skip'].join('.') })).toHaveLength(1);
  expect(verdict('nothing-unfinished', { 'src/a.ts': ['TO', 'DO'].join('') })).toHaveLength(1);
});
