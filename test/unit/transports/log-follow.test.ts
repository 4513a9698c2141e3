import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LogReading, readLog } from '../../../src/transports/log-follow.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'log-follow-'));
  file = path.join(folder, 'log');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function all(reading?: LogReading): Promise<string> {
  let text = '';
  for await (const piece of readLog(file, reading)) text += piece.toString();
  return text;
}

describe('a log that is not followed', () => {
  it('is what it is now, from where it is to begin', async () => {
    writeFileSync(file, 'one\ntwo\n');
    expect(await all()).toBe('one\ntwo\n');
    expect(await all({ startAt: () => Promise.resolve(4) })).toBe('two\n');
  });

  it('ends where it ended at first, though it grows', async () => {
    const long = 'x'.repeat(200_000);
    writeFileSync(file, long);
    let length = 0;
    for await (const piece of readLog(file)) {
      length += piece.length;
      appendFileSync(file, 'more');
    }
    expect(length).toBe(long.length);
  });

  it('is empty when it is not there, and is never a link, a FIFO or what cannot be read', async () => {
    expect(await all()).toBe('');
    symlinkSync('/etc/passwd', file);
    await expect(all()).rejects.toThrow(/^IO: cannot read the log: ELOOP/);
    rmSync(file);
    execFileSync('mkfifo', [file]);
    await expect(all()).rejects.toThrow(/^IO: the log .* is no ordinary file/);
    rmSync(file);
    writeFileSync(file, '');
    file = path.join(file, 'below');
    await expect(all()).rejects.toThrow(/^IO: cannot read the log: ENOTDIR/);
  });
});

/** Follows the log while `steps` change it: each begins when what the one before it wrote has come. */
async function followed(...steps: [write: () => void, comes: string][]): Promise<string> {
  let end: () => void = () => undefined;
  const until = new Promise<void>((resolve) => (end = resolve));
  const waiting = [...steps];
  let text = '';
  const next = (): void => {
    const [step] = waiting;
    if (step === undefined) end();
    else step[0]();
  };
  const log = readLog(file, { until });
  const first = log.next();
  next();
  for (let piece = await first; piece.done !== true; piece = await log.next()) {
    text += piece.value.toString();
    if (waiting[0] === undefined || !text.endsWith(waiting[0][1])) continue;
    waiting.shift();
    next();
  }
  return text;
}

describe('a log that is followed', () => {
  it('goes on with what is written, and ends with what is there at the end', async () => {
    writeFileSync(file, 'old\n');
    const write = (text: string) => (): void => appendFileSync(file, text);
    expect(await followed([write('a'), 'old\na'], [write('b\n'), 'ab\n'], [write('c'), 'c'])).toBe('old\nab\nc');
  });

  it('may come into being later', async () => {
    expect(await followed([() => writeFileSync(file, 'at last'), 'last'])).toBe('at last');
  });

  it('is read from its new beginning when it is cut short, and then its successor', async () => {
    writeFileSync(file, 'long enough\n');
    const successor = path.join(folder, 'new');
    writeFileSync(successor, 'next file\n');
    expect(
      await followed(
        [() => appendFileSync(file, 'x\n'), 'x\n'],
        [() => writeFileSync(file, 'y\n'), 'y\n'],
        [() => renameSync(successor, file), 'file\n'],
        [() => appendFileSync(file, 'z\n'), 'z\n'],
      ),
    ).toBe('long enough\nx\ny\nnext file\nz\n');
  });

  it('ends when the signal comes', async () => {
    writeFileSync(file, '');
    const controller = new AbortController();
    const reading = all({ until: new Promise(() => undefined), signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
  });
});
