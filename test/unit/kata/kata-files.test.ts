// The files that Kata ships are read where POLYVISOR_KATA_CONFIGS names a folder of them, made by `make` in Kata's own sources.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { fieldsByKey } from '../../../src/kata/import.ts';
import { hypervisorKeyNotes } from '../../../src/kata/keys-hypervisor.ts';
import { sectionNote } from '../../../src/kata/keys-sections.ts';
import { fixture, load, written } from './fixture.ts';

const folder = process.env['POLYVISOR_KATA_CONFIGS'];
const shipped =
  folder === undefined
    ? []
    : readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.toml'))
        .map((name) => path.resolve(folder, name));
const own = ['one.toml', 'today.toml'].map(fixture);
/** A key that is known to nobody, written so by mistake in our own file. */
const mistakes = ['hypervisor.qemu.memory_solts', 'factory.template_pth', 'metrics.port'];

/** Keys with their lines, found without a parser: one key a line, under the heading above it. */
function keysIn(text: string): { key: string; line: number; isComment: boolean; text: string }[] {
  let section = '';
  return text.split('\n').flatMap((line, at) => {
    const heading = /^\[+([\w.]+)\]+/.exec(line)?.[1];
    if (heading !== undefined) section = heading;
    const [, comment, name, value] = /^(# ?)?([a-z]\w*)\s*=\s*(\S.*)$/.exec(line) ?? [];
    if (name === undefined) return [];
    return [{ key: `${section}.${name}`, line: at + 1, isComment: comment !== undefined, text: `${name} = ${value}` }];
  });
}

if (folder === undefined) process.stderr.write("POLYVISOR_KATA_CONFIGS is unset: Kata's own files are not read\n");

it.each([...own, ...shipped])('%s', async (file) => {
  const text = readFileSync(file, 'utf8');
  const keys = keysIn(text);
  // Kata 1.x ships its file for QEMU with both, and its packages take one of them out.
  const both = /^image =/m.test(text) && /^initrd =/m.test(text) && text.includes('[proxy.');
  const read = both ? written(text.replace(/^initrd =/m, '#nitrd =')) : file;
  const loaded = await load(read).catch((error: unknown) => error);
  if (loaded instanceof VmError) {
    expect(loaded.code).toBe('UNKNOWN_HYPERVISOR');
    expect(text).toMatch(/^\[hypervisor\.(remote|stratovirt|dragonball|openvmm)\]/m);
    return;
  }
  if (loaded instanceof Error) throw loaded;
  const { report } = loaded as Awaited<ReturnType<typeof load>>;
  const active = keys.filter(({ isComment, key }) => !isComment && !(both && key.endsWith('.initrd')));
  expect(report.map(({ line }) => line)).toEqual(active.map(({ line }) => line));
  const unknown = report.filter(({ reason = '' }) => /no such key|no key of|no such section/.test(reason));
  expect(unknown.map(({ key }) => key).filter((key) => !mistakes.includes(key))).toEqual([]);
  for (const { outcome, field, reason } of report) {
    if (outcome === 'taken') expect(field ?? reason).toBeDefined();
    else expect(reason).toBeTruthy();
  }
});

it('knows every key of them that is commented out, too', () => {
  const unknown = [...own, ...shipped].flatMap((file) =>
    keysIn(readFileSync(file, 'utf8'))
      .filter(({ isComment, key }) => isComment && key.split('.').length > 1)
      .filter(({ key }) => {
        const names = key.split('.');
        const name = names.at(-1) ?? '';
        if (names[0] !== 'hypervisor') return names[0] !== 'factory' && sectionNote(names) === undefined;
        return !fieldsByKey.has(name) && !hypervisorKeyNotes.has(name) && name !== 'enable_numa';
      })
      .map(({ key }) => key),
  );
  expect([...new Set(unknown)]).toEqual([]);
});
