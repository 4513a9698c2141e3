import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { argumentLines, commandText, shellQuote } from '../../../src/cli/quote.ts';

describe('shellQuote', () => {
  it('leaves plain words as they are', () => {
    expect(['-m', 'size=512M,slots=10', '/usr/bin/qemu-x', 'a@b:c+d%e'].map(shellQuote)).toEqual([
      '-m',
      'size=512M,slots=10',
      '/usr/bin/qemu-x',
      'a@b:c+d%e',
    ]);
  });

  it('gives every word back through a real shell', () => {
    const words = [
      '',
      ' ',
      "it's",
      '"',
      '$HOME',
      '`id`',
      'a\nb',
      '*',
      '~',
      '#x',
      '\\',
      '{"a":1}',
      '!',
      'ä',
      '-',
      "'''",
    ];
    const printed = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${words.map(shellQuote).join(' ')}`], {
      encoding: 'utf8',
    });
    expect(printed.split('\0').slice(0, -1)).toEqual(words);
  });
});

describe('argumentLines', () => {
  it('puts an option and its values on one line', () => {
    expect(argumentLines(['-nodefaults', '-m', '512M', '-device', '{"a":1}', 'rest'])).toEqual([
      '-nodefaults',
      '-m 512M',
      `-device '{"a":1}' rest`,
    ]);
  });

  it('keeps words that come before any option', () => {
    expect(argumentLines(['serve', 'x', '-a'])).toEqual(['serve x', '-a']);
    expect(argumentLines([])).toEqual([]);
  });
});

describe('commandText', () => {
  it('is a command that a shell reads back as the same argv', () => {
    const argv = ['%s\\0', '-a', 'b c', "-d'", '$x'];
    const printed = execFileSync('/bin/sh', ['-c', commandText('printf', argv)], { encoding: 'utf8' });
    expect(printed.split('\0').slice(0, -1)).toEqual(argv.slice(1));
  });
});
