import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ArchiveRules } from '../../../../src/sandbox/copy/archive-rules.ts';
import { Baseline, guestMark, hostMark, nameOf } from '../../../../src/sandbox/copy/baseline.ts';
import { type MergedFolder, mergeArchive } from '../../../../src/sandbox/copy/merge.ts';
import { HostArchive } from '../../../../src/sandbox/copy/pack.ts';
import { randomFrom, seed } from '../../../crash/random.ts';

/*
 * Whatever both sides do to a folder and to its copy, nothing that either has written since is lost, and where this host has done nothing the
 * folder becomes what the guest has.
 */

const rounds = 30;
let work: string;
let host: string;
let guest: string;
let baseline: Baseline;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'polyvisor-random-'));
  [host, guest] = [path.join(work, 'host'), path.join(work, 'guest')];
});
afterEach(() => rmSync(work, { recursive: true }));

/** Each file, folder and link of a tree, and what is in it. */
function contents(folder: string, below = ''): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(path.join(folder, below)).toSorted()) {
    const at = path.join(below, name);
    const whole = path.join(folder, at);
    const stats = lstatSync(whole);
    if (stats.isDirectory()) {
      found.set(at, 'folder');
      for (const [inside, content] of contents(folder, at)) found.set(inside, content);
    } else found.set(at, stats.isSymbolicLink() ? `-> ${readlinkSync(whole)}` : readFileSync(whole, 'utf8'));
  }
  return found;
}

async function copyIn(): Promise<void> {
  baseline = new Baseline();
  const files = new HostArchive(`${host}/.`, {
    top: '.',
    archive: false,
    followLink: false,
    onEntry: (entry, found) => {
      const name = nameOf(entry);
      if (name !== '') baseline.set(name, { guest: guestMark(entry), host: hostMark(found, entry.link) });
    },
  });
  for await (const piece of files) expect(piece.length).toBeGreaterThan(0);
  execFileSync('cp', ['-a', host, guest]);
}

async function bringBack(): Promise<MergedFolder> {
  const files = new HostArchive(`${guest}/.`, { top: '.', archive: false, followLink: false });
  return mergeArchive(Readable.from(files), host, { archive: new ArchiveRules('.'), baseline, suffix: '.from-vm' });
}

const draw = randomFrom(seed);
const pick = <T>(list: readonly T[]): T => list[Math.floor(draw() * list.length)] as T;
let serial = 0;

/** Does something to a tree, as often as that is possible. @returns what it wrote: no text comes twice */
function change(folder: string, count: number): Set<string> {
  const written = new Set<string>();
  for (let n = 0; n < count; n++) {
    const all = contents(folder);
    const folders = ['', ...[...all].filter(([, what]) => what === 'folder').map(([name]) => name)];
    const at = path.join(pick(folders), pick(['a', 'b', 'c', 'd']));
    const whole = path.join(folder, at);
    const what = pick(['write', 'write', 'write', 'folder', 'link', 'remove', 'remove', 'move']);
    if (what === 'move') {
      const from = pick([...all.keys(), '']);
      if (from === '' || at === from || at.startsWith(`${from}/`) || all.has(at)) continue;
      renameSync(path.join(folder, from), whole);
      continue;
    }
    const text = `${path.basename(folder)} ${++serial}`;
    rmSync(whole, { recursive: true, force: true });
    if (what === 'folder') mkdirSync(whole);
    if (what === 'link') symlinkSync(text, whole);
    if (what === 'write') {
      writeFileSync(whole, text);
      // Two changes within one tick of the kernel's clock could not be told by it.
      utimesSync(whole, 1_500_000_000 + serial, 1_500_000_000 + serial);
    }
    if (what === 'write' || what === 'link') written.add(what === 'link' ? `-> ${text}` : text);
  }
  return written;
}

it(`loses nothing (POLYVISOR_SEED=${seed})`, async () => {
  for (let round = 0; round < rounds; round++) {
    for (const folder of [host, guest]) rmSync(folder, { recursive: true, force: true });
    mkdirSync(host);
    change(host, 12);
    await copyIn();
    const changesHere = round % 3 > 0;
    for (let step = 0; step < 3; step++) {
      const about = `round ${round}, step ${step}`;
      const written = change(guest, 4);
      if (changesHere) for (const text of change(host, 3)) written.add(text);
      const [here, there] = [contents(host), contents(guest)];
      const { conflicts } = await bringBack();
      const now = contents(host);
      if (!changesHere) {
        expect(conflicts, about).toEqual([]);
        expect(now, about).toEqual(there);
      }
      const texts = new Set(now.values());
      for (const text of [...here.values(), ...there.values()])
        if (written.has(text)) expect(texts, about).toContain(text);
      for (const found of conflicts.flatMap(({ path: at, copy }) => [at, ...(copy === undefined ? [] : [copy])]))
        expect(now.has(path.relative(host, found)), `${about}: ${found}`).toBe(true);
      // Once more, nothing is left to be done.
      expect(await bringBack(), about).toEqual({ written: 0, removed: 0, conflicts: [] });
      expect(contents(host), about).toEqual(now);
    }
  }
});
