// Images: what a root image adds to a run, and an import against the same by the tools that people have.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { importRoot } from '../../src/images/roots/import.ts';
import { importImage, removeRootImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { machine } from './cold-boot.ts';
import { type Estimate, ratio } from './statistics.ts';

const imageName = 'bench-image';

/** From `create` to the end of the first command in a stored image, against the same in the default guest. Both run a busybox. */
export async function imageRunRatio(pairs: number, report: (line: string) => void): Promise<Estimate> {
  const work = mkdtempSync(path.join(tmpdir(), 'bench-image-'));
  try {
    mkdirSync(path.join(work, 'bin'));
    copyFileSync('/usr/bin/busybox', path.join(work, 'bin', 'busybox'));
    symlinkSync('busybox', path.join(work, 'bin', 'true'));
    await importImage(work, { name: imageName });
    const walls: (readonly [number, number])[] = [];
    await run(imageName);
    await run(undefined);
    for (let at = 0; at < pairs; at++) {
      const first = await run(at % 2 === 0 ? imageName : undefined);
      const second = await run(at % 2 === 0 ? undefined : imageName);
      const pair = at % 2 === 0 ? ([first, second] as const) : ([second, first] as const);
      walls.push(pair);
      report(`image ${at + 1}/${pairs}: ${pair[0].toFixed(0)} ms, default guest ${pair[1].toFixed(0)} ms`);
    }
    return ratio(walls);
  } finally {
    await removeRootImage(imageName);
    rmSync(work, { recursive: true });
  }
}

async function run(image: string | undefined): Promise<number> {
  const started = performance.now();
  const vm = await Vm.create({ ...machine, image });
  try {
    await vm.exec(['true'], { check: true });
    return performance.now() - started;
  } finally {
    await vm.remove();
  }
}

/** An OCI image of 500 MB imported, against `umoci unpack` and `mkfs.erofs`. */
export async function importRatio(pairs: number, report: (line: string) => void): Promise<Estimate> {
  const work = mkdtempSync(path.join(tmpdir(), 'bench-import-'));
  try {
    const layout = makeLayout(work);
    const walls: (readonly [number, number])[] = [];
    for (let at = 0; at < pairs; at++) {
      const first = at % 2 === 0 ? await ours(work, layout) : byHand(work, layout);
      const second = at % 2 === 0 ? byHand(work, layout) : await ours(work, layout);
      const pair = at % 2 === 0 ? ([first, second] as const) : ([second, first] as const);
      walls.push(pair);
      report(`import ${at + 1}/${pairs}: ${pair[0].toFixed(0)} ms, by hand ${pair[1].toFixed(0)} ms`);
    }
    return ratio(walls);
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** 5000 files of 100 kB, half of which compress to nothing. */
function makeLayout(work: string): string {
  const [layout, root] = [path.join(work, 'layout'), path.join(work, 'root')];
  for (let folder = 0; folder < 50; folder++) {
    mkdirSync(path.join(root, `folder-${folder}`), { recursive: true });
    for (let file = 0; file < 100; file++) {
      const content = file % 2 === 0 ? randomBytes(100_000) : Buffer.alloc(100_000, `${folder} ${file}\n`);
      writeFileSync(path.join(root, `folder-${folder}`, `file-${file}`), content);
    }
  }
  execFileSync('umoci', ['init', '--layout', layout]);
  execFileSync('umoci', ['new', '--image', `${layout}:app`]);
  execFileSync('umoci', ['insert', '--image', `${layout}:app`, root, '/data']);
  rmSync(root, { recursive: true });
  return layout;
}

async function ours(work: string, layout: string): Promise<number> {
  const store = path.join(work, 'store');
  const started = performance.now();
  await importRoot({ store, source: layout, name: 'app' });
  const took = performance.now() - started;
  rmSync(store, { recursive: true });
  return took;
}

function byHand(work: string, layout: string): number {
  const [bundle, image] = [path.join(work, 'bundle'), path.join(work, 'root.erofs')];
  const started = performance.now();
  execFileSync('umoci', ['unpack', '--rootless', '--image', `${layout}:app`, bundle], { stdio: 'pipe' });
  execFileSync('mkfs.erofs', [image, path.join(bundle, 'rootfs')], { stdio: 'pipe' });
  execFileSync('sync', [image]);
  const took = performance.now() - started;
  rmSync(bundle, { recursive: true });
  rmSync(image);
  return took;
}
