import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { moveFile } from '../../../src/hypervisors/move-file.ts';
import { failure } from '../../fakes/failure.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

describe('what a VMM has written', () => {
  it('becomes a file of ours, for us alone', async () => {
    const [from, to] = [at.write('written', 'memory'), at.file('moved')];
    await moveFile(from, to);
    expect([readFileSync(to, 'utf8'), statSync(to).mode & 0o777]).toEqual(['memory', 0o600]);
  });

  it('also on another file system', async () => {
    const folder = mkdtempSync('/dev/shm/polyvisor-moved-');
    try {
      const [from, to] = [at.write('written', 'memory'), path.join(folder, 'moved')];
      expect(statSync(folder).dev).not.toBe(statSync(at.folder).dev);
      await moveFile(from, to);
      expect([readFileSync(to, 'utf8'), statSync(to).mode & 0o777]).toEqual(['memory', 0o600]);
      const link = at.file('link');
      symlinkSync(from, link);
      await failure(moveFile(link, path.join(folder, 'other')));
      expect(readdirSync(folder)).toEqual(['moved']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each<[what: string, make: (place: string, secret: string) => void]>([
    ["a link to a file of the host's", (place, secret) => symlinkSync(secret, place)],
    ['a folder', (place) => mkdirSync(path.join(place, 'within'), { recursive: true })],
    ['a FIFO', (place) => execFileSync('mkfifo', [place])],
  ])('is refused when it is %s, which is not touched', async (_, make) => {
    const secret = at.write('secret', 'of the host');
    const before = lstatSync(secret);
    const [folder, to] = [at.file('left'), at.file('taken')];
    mkdirSync(folder, { recursive: true });
    make(path.join(folder, 'state'), secret);
    expect((await failure(moveFile(path.join(folder, 'state'), to))).code).toBe('VMM_FAILED');
    expect(readdirSync(at.folder)).not.toContain('taken');
    const { mode, uid, ctimeMs } = lstatSync(secret);
    expect([mode, uid, ctimeMs]).toEqual([before.mode, before.uid, before.ctimeMs]);
  });
});
