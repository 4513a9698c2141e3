// Images: what a root image adds to a run, and an import against the same by the tools that people have.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { importRoot } from '../../src/images/roots/import.ts';
import { importImage, removeRootImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { machine } from './cold-boot.ts';
import { type Estimate, ratio } from './statistics.ts';

const imageName = 'bench-image';

const python = ['/usr/bin/python3', '-c', '1'];
/** Where the default guest has the same files. */
const inside = '/python';

/**
 * From `create` to the end of the first command, and that command: `python3 -c 1` in a stored image, against the same files in the default
 * guest, into which they are copied after it has booted; that time is left out.
 */
export async function imageRunRatio(pairs: number, report: (line: string) => void): Promise<Estimate> {
  const work = mkdtempSync(path.join(tmpdir(), 'bench-image-'));
  try {
    copyPython(work);
    await importImage(work, { name: imageName });
    const walls: (readonly [number, number])[] = [];
    const stored = (): Promise<number> => run(imageName);
    const copied = (): Promise<number> => run(undefined, work);
    await stored();
    await copied();
    for (let at = 0; at < pairs; at++) {
      const first = await (at % 2 === 0 ? stored() : copied());
      const second = await (at % 2 === 0 ? copied() : stored());
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

/** The host's Python, with its libraries and without what it needs no more. */
function copyPython(root: string): void {
  const program = realpathSync(python[0] ?? '');
  const version = path.basename(program);
  const linked = execFileSync('ldd', [program], { encoding: 'utf8' });
  const libraries = [...linked.matchAll(/(\/\S+)/g)].map(([, file]) => file ?? '');
  for (const file of [program, ...libraries]) {
    mkdirSync(path.join(root, path.dirname(file)), { recursive: true });
    copyFileSync(file, path.join(root, file));
  }
  symlinkSync(version, path.join(root, 'usr/bin/python3'));
  const modules = `/usr/lib/${version}`;
  cpSync(modules, path.join(root, modules), {
    recursive: true,
    filter: (file) => !/\/(test|idlelib|ensurepip|config-[^/]*)$/.test(file),
    dereference: true,
  });
}

async function run(image: string | undefined, files?: string): Promise<number> {
  const started = performance.now();
  const vm = await Vm.create({ ...machine, image });
  try {
    const booted = performance.now();
    if (files !== undefined) await vm.copyIn(files, inside);
    const resumed = performance.now();
    await vm.exec(files === undefined ? python : ['chroot', inside, ...python], { check: true });
    return performance.now() - resumed + (booted - started);
  } finally {
    await vm.remove();
  }
}

/** Many VMs of one image on disk, in MiB: all of them, and what one takes beside what it wrote. */
export async function imageDisk(
  count: number,
  report: (line: string) => void,
): Promise<{ allMiB: number; restMiB: number }> {
  const work = mkdtempSync(path.join(tmpdir(), 'bench-disk-'));
  const vms: Vm[] = [];
  const wroteMiB = 4;
  try {
    mkdirSync(path.join(work, 'bin'));
    copyFileSync('/usr/bin/busybox', path.join(work, 'bin', 'busybox'));
    writeFileSync(path.join(work, 'data'), randomBytes(100 << 20));
    const { file } = await importImage(work, { name: imageName });
    const write = ['/bin/busybox', 'dd', 'if=/dev/urandom', 'of=/file', 'bs=1M', `count=${wroteMiB}`, 'conv=fsync'];
    while (vms.length < count) {
      const vm = await Vm.create({ ...machine, memoryMiB: 128, image: imageName, scratch: { sizeMiB: 1024 } });
      vms.push(vm);
      await vm.exec(write, { check: true });
      report(`VMs of one image: ${vms.length}/${count}`);
    }
    const folders = vms.map(({ name }) => path.join(places().vms, name));
    const words = execFileSync('du', ['-skc', file, ...folders], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const [image, all] = [words[0], words.at(-1)].map((line) => Number.parseInt(line ?? '', 10) / 1024);
    if (image === undefined || all === undefined) throw new Error('du says nothing');
    return { allMiB: all, restMiB: (all - image) / count - wroteMiB };
  } finally {
    for (const vm of vms) await vm.remove();
    await removeRootImage(imageName);
    rmSync(work, { recursive: true });
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
