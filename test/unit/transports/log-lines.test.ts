import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { markedLines, startOfLastLines, startOfMarkedLines, startOfTime } from '../../../src/transports/log-lines.ts';

let file: string;
beforeEach(() => {
  file = path.join(mkdtempSync(path.join(tmpdir(), 'log-lines-')), 'log');
});
afterEach(() => rmSync(path.dirname(file), { recursive: true }));

/** What is left of a log from where it is found to begin. */
async function rest(content: string, find: (log: FileHandle) => Promise<number>, writtenAt?: Date): Promise<string> {
  writeFileSync(file, content);
  if (writtenAt !== undefined) utimesSync(file, writtenAt, writtenAt);
  const log = await open(file);
  try {
    return Buffer.from(content)
      .subarray(await find(log))
      .toString();
  } finally {
    await log.close();
  }
}

describe('the last lines', () => {
  const last = (content: string, lines: number): Promise<string> =>
    rest(content, (log) => startOfLastLines(log, lines));

  it('are found whether or not the last one is complete', async () => {
    expect(await last('a\nb\nc\n', 2)).toBe('b\nc\n');
    expect(await last('a\nb\nc', 2)).toBe('b\nc');
    expect(await last('a\n\n\n', 2)).toBe('\n\n');
    expect(await last('a\nb\n', 9)).toBe('a\nb\n');
    expect(await last('a\nb\n', 0)).toBe('');
    expect(await last('', 5)).toBe('');
  });

  it('are found when they begin many blocks before the end', async () => {
    const long = `${'x'.repeat(200_000)}\n`;
    expect(await last(`first\n${long}${long}`, 2)).toBe(long + long);
    expect(await last(`first\n${long}${long}`, 3)).toBe(`first\n${long}${long}`);
  });

  it('that have a mark are counted by themselves', async () => {
    const log = `${'y'.repeat(100_000)}\nmark 1\nother\nmark 2\nmark 3\nother\n`;
    const found = await rest(log, (it) => startOfMarkedLines(it, 2, 'mark'));
    expect(found).toBe('mark 2\nmark 3\nother\n');
    expect(await rest(log, (it) => startOfMarkedLines(it, 0, 'mark'))).toBe('');
    expect(await rest('other\n', (it) => startOfMarkedLines(it, 3, 'mark'))).toBe('');
  });
});

describe('what is not older than a time', () => {
  const log =
    'boot\nBoot..2026-01-02T10:00:00Z agent: ready\nout 1\n2026-01-02T11:00:00.5Z qemu: hm\nout 2\n2026-01-02T12:00:00Z agent: bye\nend\n';
  const since = (time: string, content = log): Promise<string> =>
    rest(content, (it) => startOfTime(it, new Date(time)), new Date('2026-01-02T12:30:00Z'));

  it('begins after the last line that is surely older', async () => {
    expect(await since('2026-01-02T09:00:00Z')).toBe(log);
    expect(await since('2026-01-02T10:30:00Z')).toBe(log.slice(log.indexOf('out 1')));
    expect(await since('2026-01-02T11:00:00.5Z')).toBe(log.slice(log.indexOf('out 1')));
    expect(await since('2026-01-02T12:15:00Z')).toBe('end\n');
  });

  it('is nothing when the log was last written before, and everything when no line tells its time', async () => {
    expect(await since('2026-01-02T12:31:00Z')).toBe('');
    expect(await since('2026-01-02T12:15:00Z', 'a\nb\n')).toBe('a\nb\n');
  });

  it('is found across blocks', async () => {
    const noise = `${'z'.repeat(150)}\n`.repeat(1000);
    expect(await since('2026-01-02T12:15:00Z', `${noise}${log}${noise}`)).toBe(`end\n${noise}`);
  });
});

it('lines with a mark are picked out of a stream, however it is cut', async () => {
  async function* pieces(): AsyncGenerator<Buffer> {
    for (const piece of ['a mar', 'k 1\nno', '\n', 'x'.repeat(200), ' mark\nmark 2']) yield Buffer.from(piece);
  }
  const found: string[] = [];
  for await (const line of markedLines(pieces(), 'mark')) found.push(line.toString());
  expect(found).toEqual(['a mark 1\n', 'mark 2']);
});
