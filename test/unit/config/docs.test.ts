import { expect, test } from 'vitest';
import { configFieldNames, configFields } from '../../../src/config/config-fields.ts';
import { configDocs } from '../../../src/config/docs.ts';
import { usesAll } from './fixture.ts';

test.each(configFieldNames)('%s has its line', (name) => {
  const lines = configDocs()
    .split('\n')
    .filter((line) => line.startsWith(`| \`${name}\` |`));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(configFields[name].meaning);
  expect(lines[0]).not.toContain('undefined');
});

test('with field uses, a column says who uses a field', () => {
  const docs = configDocs([usesAll, { hypervisor: 'none', uses: {}, unused: {} }]);
  expect(docs).toContain('| Used by |');
  expect(docs).toMatch(/\| `vcpus` \|.*\| all \|/);
});
