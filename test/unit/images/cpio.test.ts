import { describe, expect, it } from 'vitest';
import { cpioArchive, type CpioEntry } from '../../../src/images/cpio.ts';

const entries: CpioEntry[] = [
  { type: 'directory', path: 'bin', mode: 0o755 },
  { type: 'file', path: 'bin/tool', mode: 0o755, content: Buffer.from('12345') },
  { type: 'symlink', path: 'bin/sh', target: '/bin/tool' },
  { type: 'directory', path: 'tmp', mode: 0o1777 },
  { type: 'character', path: 'console', mode: 0o600, major: 5, minor: 1 },
];

/** Reads an archive as the kernel does. */
function read(archive: Buffer): { path: string; fields: number[]; content: string }[] {
  const found = [];
  for (let at = 0; ;) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701');
    const fields = Array.from({ length: 13 }, (_, index) =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16),
    );
    const [size = 0, nameLength = 0] = [fields[6], fields[11]];
    const path = archive.toString('utf8', at + 110, at + 110 + nameLength - 1);
    const data = (at + 110 + nameLength + 3) & ~3;
    if (path === 'TRAILER!!!') return found;
    found.push({ path, fields, content: archive.toString('utf8', data, data + size) });
    at = (data + size + 3) & ~3;
  }
}

describe('cpioArchive', () => {
  it('holds each entry with its type, mode and content, owned by root at time 0', () => {
    const found = read(cpioArchive(entries));
    expect(found.map(({ path, fields, content }) => [path, fields[1]?.toString(8), content])).toEqual([
      ['bin', '40755', ''],
      ['bin/sh', '120777', '/bin/tool'],
      ['bin/tool', '100755', '12345'],
      ['console', '20600', ''],
      ['tmp', '41777', ''],
    ]);
    for (const { fields } of found) expect([fields[2], fields[3], fields[5]]).toEqual([0, 0, 0]);
    expect(found[3]?.fields.slice(9, 11)).toEqual([5, 1]);
    expect(found.map(({ fields }) => fields[0])).toEqual([1, 2, 3, 4, 5]);
  });

  it('gives the same bytes whatever the order', () => {
    expect(cpioArchive(entries.toReversed()).equals(cpioArchive(entries))).toBe(true);
  });

  it.each(['/bin', 'bin/../etc', './bin', 'bin//a', '', 'a\0b'])('refuses the path %j', (path) => {
    expect(() => cpioArchive([...entries, { type: 'directory', path, mode: 0o755 }])).toThrow('INVALID_ARGUMENT');
  });

  it('refuses a path twice, and one whose folder is missing', () => {
    expect(() => cpioArchive([...entries, { type: 'directory', path: 'tmp', mode: 0o755 }])).toThrow('twice');
    expect(() => cpioArchive([...entries, { type: 'symlink', path: 'usr/sh', target: 'x' }])).toThrow('folder');
    expect(() => cpioArchive([...entries, { type: 'symlink', path: 'bin/tool/sh', target: 'x' }])).toThrow('folder');
  });
});
