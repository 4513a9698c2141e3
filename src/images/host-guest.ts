import { readFile, rm, stat } from 'node:fs/promises';
import { release as runningRelease } from 'node:os';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { findProgram } from '../transports/process/find-program.ts';
import { assembleGuest } from './assemble.ts';
import type { BuildOptions } from './build.ts';
import { isStaticProgram } from './elf.ts';
import { sha256 } from './file-record.ts';
import { type GuestImage, hostImageName, manifestVersion } from './image.ts';
import { kernelElf } from './kernel-elf.ts';
import type { BuildScope } from './packages.ts';
import { recipeHash } from './recipe.ts';
import { cachedImage, describeAgent, openScratch } from './store.ts';

/** A kernel of a Linux that is installed somewhere. */
export interface InstalledKernel {
  /** as in `uname -r` */
  release: string;
  /** the file that is booted */
  image: string;
  /** folder of its modules */
  modules: string;
}

/** How the guest with the host's kernel is made. */
export interface HostGuestOptions extends BuildOptions {
  /** default: the kernel that this host runs */
  kernel?: InstalledKernel | undefined;
}

/** Where distributions put a kernel: Debian and most others, Fedora and Arch, Gentoo. */
const imagePlaces: readonly ((release: string) => string)[] = [
  (release) => `boot/vmlinuz-${release}`,
  (release) => `usr/lib/modules/${release}/vmlinuz`,
  (release) => `lib/modules/${release}/vmlinuz`,
  (release) => `boot/kernel-${release}`,
  (release) => `boot/vmlinux-${release}`,
];
/** Debian's, and what Fedora's and Alpine's packages call it. */
const busyboxNames: readonly string[] = ['busybox', 'busybox.static', 'busybox-static'];

/**
 * Finds the kernel that a host runs, and its modules.
 * @param root folder of that host's root file system
 * @throws {VmError} HOST_MISSING when its files are not there, as in a container; FILE_UNREADABLE when they may not be read
 */
export async function findHostKernel(root = '/', release: string = runningRelease()): Promise<InstalledKernel> {
  const modules = await firstThere(['usr/lib/modules', 'lib/modules'].map((at) => join(root, at, release)));
  const image = await firstThere(imagePlaces.map((place) => join(root, place(release))));
  if (modules === undefined || image === undefined)
    throw new VmError('HOST_MISSING', `the files of this host's kernel ${release} are not here`, {
      path: modules === undefined ? join(root, 'lib/modules', release) : join(root, 'boot'),
      advice: 'In a container they are those of the machine around it. Leave `kernel` out for the default guest.',
    });
  return { release, image, modules };
}

/**
 * Makes a guest of the host's own kernel with its modules, the agent, and the host's busybox: without apt, and without a download. It is made
 * anew when one of them has changed. Without root, if the kernel may be read.
 * @throws {VmError} HOST_MISSING for a kernel, a static busybox, xz or zstd; FILE_UNREADABLE, FILE_NOT_FOUND; FILE_INVALID for what is no kernel;
 *   IMAGE_BUILD_FAILED, IO, ABORTED
 */
export async function buildHostGuest(options: HostGuestOptions): Promise<GuestImage> {
  const { cacheFolder, signal, force = false } = options;
  await describeAgent(options.agentPath);
  const agent = await readFile(options.agentPath);
  const { release, image: path, modules } = options.kernel ?? (await findHostKernel());
  const image = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new VmError('FILE_UNREADABLE', `cannot read the kernel ${path}: ${cause.message}`, {
      path,
      errno: cause.code,
      advice: 'Some distributions let only root read it: run as root, or allow it with chmod.',
      cause,
    });
  });
  const { busybox, content } = await findBusybox();
  const key = sha256(
    JSON.stringify([manifestVersion, recipeHash, process.arch, release, sha256(image), sha256(content), sha256(agent)]),
  );
  const known = force ? undefined : await cachedImage(cacheFolder, hostImageName, key);
  if (known !== undefined) return known;
  const scratch = await openScratch(cacheFolder).catch((cause: NodeJS.ErrnoException) => {
    throw new VmError('IO', `cannot write to ${cacheFolder}: ${cause.message}`, { path: cacheFolder, cause });
  });
  const scope: BuildScope = { scratch, signal, report: (event) => options.onEvent?.(event) };
  try {
    const kernel = { image, elf: await kernelElf(image, scope), release };
    const parts = { name: hostImageName, key, kernel, moduleFolder: modules, busybox, agent, packages: [] };
    const made = await assembleGuest(cacheFolder, parts, scope, force);
    scope.report({ phase: 'done', message: made.folder });
    return made;
  } catch (reason) {
    if (signal?.aborted === true) throw VmError.from(signal.reason, 'ABORTED');
    throw VmError.from(reason, 'IMAGE_BUILD_FAILED', { operation: 'image build' });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** A busybox of the host that runs in a guest, where there is no library: a static one. */
async function findBusybox(): Promise<{ busybox: string; content: Buffer }> {
  for (const name of busyboxNames) {
    const busybox = await findProgram(name).catch(() => undefined);
    if (busybox === undefined) continue;
    const content = await readFile(busybox);
    if (isStaticProgram(content)) return { busybox, content };
  }
  throw new VmError('HOST_MISSING', 'this host has no static busybox', {
    advice: 'Install busybox-static (Debian, Ubuntu, Alpine) or busybox (Fedora, Arch).',
  });
}

async function firstThere(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  return undefined;
}
