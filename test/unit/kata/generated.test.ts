import fc from 'fast-check';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { configFields } from '../../../src/config/config-fields.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import { VmError } from '../../../src/errors.ts';
import { fieldsByKey } from '../../../src/kata/import.ts';
import { hypervisorKeyNotes } from '../../../src/kata/keys-hypervisor.ts';
import { loadKataConfig } from '../../../src/kata/load.ts';
import { host, usesAll } from '../config/fixture.ts';
import { temporaryFolder } from './fixture.ts';

const text = fc.oneof(
  fc.constantFrom('', '/k', 'virtio-fs', 'virtio-9p', 'virtio-blk', 'q35', 'a=b c', '\u007F', '../x', '[', '\u{1F600}'),
  fc.string({ maxLength: 12 }),
);
const scalar = fc.oneof(
  text.map((it) => JSON.stringify(it)),
  fc.boolean().map(String),
  fc.constantFrom('0', '1', '-1', '5', '256', '2048', '4294967295', '4294967296', '99999999999999999999', '0x10'),
  fc.constantFrom('1.5', 'inf', 'nan', '-0.0', '1979-05-27', '07:32:00', "'literal'", '"""\nmany\nlines"""'),
);
const value = fc.oneof(
  { weight: 5, arbitrary: scalar },
  { weight: 2, arbitrary: fc.array(scalar, { maxLength: 3 }).map((list) => `[${list.join(', ')}]`) },
  { weight: 1, arbitrary: scalar.map((it) => `{ x = ${it} }`) },
);
const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...fieldsByKey.keys(), 'enable_numa') },
  { weight: 3, arbitrary: fc.constantFrom(...hypervisorKeyNotes.keys()) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('__proto__', 'constructor', '"a.b"', '0', 'toString', 'factory.enable_template'),
  },
);
const heading = fc.constantFrom(
  '[hypervisor.qemu]',
  '[hypervisor.firecracker]',
  '[hypervisor.clh]',
  '[hypervisor.acrn]',
  '[hypervisor.remote]',
  '[factory]',
  '[runtime]',
  '[agent.kata]',
  '[[hypervisor.qemu.guest_extension_images]]',
  '[__proto__.x]',
  '[strange]',
);
const line = fc.tuple(key, value).map(([name, it]) => `${name} = ${it}`);
const section = fc
  .tuple(heading, fc.uniqueArray(line, { maxLength: 8, selector: (it) => it.split(' ')[0] }))
  .map(([head, lines]) => [head, ...lines].join('\n'));
const broken = fc.constantFrom('= 1', 'a', '[', 'x = ', '"', 'a.b.c', '\u0000', '[hypervisor.qemu]', '[]');
/** Anything at all. */
const wildFile = fc
  .tuple(
    fc.uniqueArray(section, { minLength: 1, maxLength: 4, selector: (it) => it.split('\n')[0] }),
    fc.option(broken, { freq: 8 }),
  )
  .map(([sections, junk]) => [...sections, ...(junk === null ? [] : [junk])].join('\n'));

/** A value of the type that a key takes, often a sensible one. */
function typed(name: string): fc.Arbitrary<string> {
  const type = configFields[fieldsByKey.get(name) ?? 'debug'].type;
  const quoted = (it: string): string => JSON.stringify(it);
  if (name === 'machine_accelerators' || name === 'cpu_features') return fc.constantFrom('""', '"a=b,,c"');
  switch (type.kind) {
    case 'flag':
      return fc.boolean().map(String);
    case 'integer':
      return fc.constantFrom(0, 1, 2, 5, 100, 512, 8192).map(String);
    case 'choice':
      return fc.constantFrom(...type.values).map(quoted);
    case 'list':
      return fc.array(fc.constantFrom('/a', '/b/*', '0'), { maxLength: 2 }).map((list) => JSON.stringify(list));
    default:
      return fc.constantFrom('', '/k', 'q35', 'a=b').map(quoted);
  }
}

const typedLine = fc
  .constantFrom(...[...fieldsByKey.keys()].filter((name) => !['kernel', 'initrd', 'image'].includes(name)))
  .chain((name) => typed(name).map((it) => `${name} = ${it}`));
/** One that Kata may well take. */
const typedFile = fc
  .uniqueArray(typedLine, { maxLength: 6, selector: (it) => it.split(' ')[0] })
  .map((lines) => ['[hypervisor.qemu]', 'kernel = "/k"', 'initrd = "/i"', ...lines].join('\n'));
const file = fc.oneof(wildFile, typedFile);

/** Whether each line of a message begins with file and line. */
function isPlaced(message: string, name: string): boolean {
  return message
    .split('\n')
    .filter((it) => !/^and \d+ more$/.test(it))
    .every((it) => it.startsWith(`${name}:`) && /^:\d+: /.test(it.slice(name.length)));
}

it(
  'a thousand files: no crash, no value of a wrong type, no message without its place',
  { timeout: 120_000 },
  async () => {
    const folder = temporaryFolder();
    const name = path.join(folder, 'configuration.toml');
    let loaded = 0;
    await fc.assert(
      fc.asyncProperty(file, fc.boolean(), async (toml, strict) => {
        writeFileSync(name, toml);
        try {
          const config = await loadKataConfig(name, { host, fields: usesAll, strict });
          loaded++;
          const { hypervisor: _, ...options } = config.options;
          expect(parseConfig(options)).toEqual(options);
          expect(typeof config.factory.template).toBe('boolean');
          expect(Number.isInteger(config.factory.cacheNumber)).toBe(true);
          for (const entry of config.report) expect(entry).toMatchObject({ file: name, line: expect.any(Number) });
          for (const { message } of config.warnings) expect(isPlaced(message, name), message).toBe(true);
          expect(({} as Record<string, unknown>)['x']).toBeUndefined();
        } catch (error) {
          if (!(error instanceof VmError)) throw error;
          expect(error.code).toMatch(/^(INVALID_CONFIG|UNKNOWN_HYPERVISOR)$/);
          expect(isPlaced(error.rawMessage, name), error.rawMessage).toBe(true);
          expect(error.facts).toMatchObject({ path: name, line: expect.any(Number) });
        }
      }),
      { numRuns: 1000 },
    );
    // A generator of files that are all refused would prove little.
    expect(loaded).toBeGreaterThan(100);
  },
);
