import fc from 'fast-check';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  longestSocketName,
  places,
  runtimeFolder,
  stagingName,
  stagingOf,
  vmmFiles,
} from '../../../src/state/paths.ts';
import { isValidName } from '../../../src/config/names.ts';

const uid = process.getuid?.();

describe('places', () => {
  test('POLYVISOR_HOME overrides all', () => {
    expect(places({ POLYVISOR_HOME: '/p/', XDG_STATE_HOME: '/s', XDG_RUNTIME_DIR: '/r', HOME: '/h' })).toEqual({
      state: '/p/state',
      vms: '/p/state/vms',
      templates: '/p/state/templates',
      snapshots: '/p/state/snapshots',
      roots: '/p/state/images',
      jails: '/p/state/jails',
      cache: '/p/cache',
      images: '/p/cache/images',
      kernels: '/p/cache/kernels',
      verdicts: '/p/cache/verdicts',
      runtime: '/p/run',
      privateFolders: ['/p', '/p/state', '/p/state/vms', '/p/run'],
    });
  });

  test('the XDG folders, and their defaults', () => {
    const env = { XDG_STATE_HOME: '/s', XDG_CACHE_HOME: '/c', XDG_RUNTIME_DIR: '/r', HOME: '/h' };
    expect(places(env)).toMatchObject({ state: '/s/polyvisor', cache: '/c/polyvisor', runtime: '/r/polyvisor' });
    const defaults = {
      state: '/h/.local/state/polyvisor',
      cache: '/h/.cache/polyvisor',
      runtime: `/tmp/polyvisor-${uid}`,
    };
    expect(places({ HOME: '/h' })).toMatchObject(defaults);
    expect(
      places({ HOME: '/h', XDG_STATE_HOME: 'relative', XDG_CACHE_HOME: '', XDG_RUNTIME_DIR: './r' }),
    ).toMatchObject(defaults);
  });

  test('a relative POLYVISOR_HOME is refused', () => {
    expect(() => places({ POLYVISOR_HOME: 'p' })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  test('different homes that are too long have different runtime folders', () => {
    const [one, two] = ['a', 'b'].map((end) => places({ POLYVISOR_HOME: `/${'x'.repeat(100)}${end}` }).runtime);
    expect(one).toMatch(new RegExp(`^/tmp/polyvisor-${uid}/[0-9a-f]{12}$`));
    expect(one).not.toBe(two);
  });

  test('every socket path fits, whatever the home', () => {
    const env = fc.record({
      POLYVISOR_HOME: fc.string({ unit: 'grapheme', maxLength: 300 }).map((text) => `/${text}`),
    });
    fc.assert(
      fc.property(env, (it) => {
        const folder = runtimeFolder(places(it), '0123456789ab');
        for (const socket of [
          path.join(folder, longestSocketName),
          vmmFiles.qmpSocket(folder),
          vmmFiles.agentSocket(folder, 7),
          vmmFiles.consoleSocket(folder),
        ]) {
          expect(Buffer.byteLength(socket)).toBeLessThanOrEqual(107);
        }
      }),
    );
  });
});

test('a staging name tells by whom, and is no VM`s name', () => {
  const by = { pid: 42, startTime: 4711, bootId: 'c53a25f7-3e31-4029-870f-f73b9554d23b' };
  for (const what of ['new', 'gone'] as const) {
    const name = stagingName(what, by, '0123456789ab');
    expect(stagingOf(name)).toEqual({ by, id: '0123456789ab' });
    expect(isValidName(name)).toBe(false);
  }
  for (const other of ['vm', '.new-', '.new-1-2-3-4', '.hidden']) expect(stagingOf(other)).toBeUndefined();
});
