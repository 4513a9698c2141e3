import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readFileSync, rmdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { readConfinement } from './confinement.ts';
import { type ConfinementPlan, memoryLimitMiB } from './confinement-plan.ts';
import { readHostPowers } from './host-powers.ts';
import { linkToNode, makeMountPoint, ownNode } from './jail.ts';
import { closedTo } from './jail-plan.ts';
import { mayUse, type Seen, survey } from './survey.ts';
import type { ToolName } from './tools.ts';

/** Milliseconds that a tool gets to mount something. */
const toolMs = 10_000;

/** A VMM that runs, and the folder in which its confinement is written down. */
export interface RunningVmm {
  stateFolder: string;
  pid: number;
}

/**
 * Lets a running VMM see a file, folder, device or socket of the host, under the same path: to be called before it is told to
 * open it. Does nothing for a VMM that sees everything. What is shown twice must be concealed twice.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE; PERMISSION when the VMM's own uid may not use it; HOST_MISSING, IO
 */
export async function reveal(
  vmm: RunningVmm,
  file: string,
  { readOnly, ...call }: { readOnly: boolean } & CallOptions,
): Promise<void> {
  const plan = readConfinement(vmm.stateFolder);
  if (plan?.jail === undefined || isShown(plan, file, readOnly)) return;
  const root = vmFiles.jail(vmm.stateFolder);
  const [seen] = survey([{ path: path.normalize(file), access: readOnly ? 'read' : 'write' }]);
  if (seen === undefined) return;
  if (plan.uid !== undefined && plan.capabilities.length === 0 && !mayUse(seen, plan.uid, plan.groups)) {
    if (seen.device === undefined) throw closedTo(seen, plan.uid);
    const { type, major, minor } = seen.device;
    const own = linkToNode(root, seen.path);
    // An earlier device may have had it: nodes stay.
    if (statSync(`/proc/${vmm.pid}/root${own}`, { throwIfNoEntry: false }) !== undefined) return;
    const node = path.join(root, own);
    await inNamespace(vmm, plan, 'mknod', ['-m', '666', node, type, `${major}`, `${minor}`], call);
    return;
  }
  makeMountPoint(root, seen.path, seen.kind === 'folder' ? 'folder' : 'file');
  const place = path.join(root, seen.path);
  const options = readOnly && seen.kind !== 'device' ? 'bind,ro,nosuid' : 'bind';
  const before = mountsAt(vmm, seen.path);
  try {
    await inNamespace(vmm, plan, 'mount', ['-o', options, '--', seen.path, place], call);
    requireSame(vmm, seen);
  } catch (error) {
    try {
      // Also by a tool that was told to end.
      if (mountsAt(vmm, seen.path) > before) await inNamespace(vmm, plan, 'umount', ['--lazy', '--', place], {});
      removePlaces(vmm, plan, seen.path);
    } catch {
      // The first error says more, and what is left goes with the jail.
    }
    throw error;
  }
}

/**
 * Takes away what {@link reveal} showed. What the VMM has open it can go on using.
 * @throws {VmError} HOST_MISSING, IO
 */
export async function conceal(vmm: RunningVmm, file: string, call: CallOptions = {}): Promise<void> {
  const plan = readConfinement(vmm.stateFolder);
  const seen = path.normalize(file);
  if (plan?.jail === undefined || isShown(plan, seen, true)) return;
  const place = path.join(vmFiles.jail(vmm.stateFolder), seen);
  // Only what is mounted there is taken away; a node of the VMM's own stays, as nothing tells who else uses it.
  if (mountsAt(vmm, seen) === 0) return;
  // Lazy: also while it is open.
  await inNamespace(vmm, plan, 'umount', ['--lazy', '--', place], call);
  removePlaces(vmm, plan, seen);
}

/**
 * Takes away a device that a running VMM has had a node of its own for since its start, and needs no more. What it has open it can go on
 * using. A device that the host lets everyone use stays. @throws {VmError} IO
 */
export function withdraw({ stateFolder, pid }: RunningVmm, device: string): void {
  const nodes = readConfinement(stateFolder)?.jail?.nodes ?? [];
  if (!nodes.some((node) => node.path === device)) return;
  try {
    unlinkSync(`/proc/${pid}/root${ownNode(device)}`);
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't take ${device} from the VMM: ${message}`, { path: device, errno, cause: error });
  }
}

/** Removes the place that something was mounted at, and the folders that were made to lead there, unless another one needs them. */
export function removePlaces({ stateFolder, pid }: RunningVmm, { jail }: ConfinementPlan, file: string): void {
  const root = vmFiles.jail(stateFolder);
  const kept = new Set((jail?.mounts ?? []).map((mount) => mount.path));
  const mounted = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  // To remove a folder is to end what is mounted there in other namespaces.
  for (let at = file; at !== '/' && !kept.has(at) && !mounted.includes(` ${escaped(at)} `); at = path.dirname(at)) {
    try {
      const place = path.join(root, at);
      if (lstatSync(place).isDirectory()) rmdirSync(place);
      else unlinkSync(place);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOTEMPTY' || code === 'ENOENT') return;
      throw new VmError('IO', `can't clear the VMM's jail: ${message}`, { path: at, errno: code, cause: error });
    }
  }
}

/**
 * Lets a running VMM write files up to this size: a disk that is bigger than what it may write so far could not be used.
 * @throws {VmError} HOST_MISSING, IO when the host's own limit is lower
 */
export async function allowFileSize(vmm: RunningVmm, bytes: number, call: CallOptions = {}): Promise<void> {
  const now = /^Max file size\s+(\d+)/m.exec(readFileSync(`/proc/${vmm.pid}/limits`, 'latin1'))?.[1];
  if (now === undefined || Number(now) >= bytes) return;
  const uid = readConfinement(vmm.stateFolder)?.uid;
  // Who is the same user may set a limit; root may only with CAP_SYS_RESOURCE, which in containers it lacks.
  const asIt =
    uid === undefined ? [] : [await toolPath('setpriv'), `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
  const words = [...asIt, await toolPath('prlimit'), '--pid', `${vmm.pid}`, `--fsize=${bytes}:`];
  await run(words, `can't let the VMM write ${bytes} bytes`, call);
}

/** Lets a running VMM lock as much memory as it wants to, which root may. @throws {VmError} HOST_MISSING, IO */
export async function allowLockedMemory({ pid }: RunningVmm, call: CallOptions = {}): Promise<void> {
  const now = /^Max locked memory\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'latin1'))?.[1];
  if (now === undefined || now === 'unlimited') return;
  const words = [await toolPath('prlimit'), '--pid', `${pid}`, '--memlock=unlimited:unlimited'];
  await run(words, "can't let the VMM lock memory", call);
}

/** Lets a running VMM take the memory that a guest of this size takes: its limit grows, and never shrinks. @throws {VmError} IO */
export function allowMemory({ stateFolder }: RunningVmm, memoryMiB: number, emulated: boolean): void {
  const limits = readConfinement(stateFolder)?.cgroup?.limits ?? [];
  const bytes = memoryLimitMiB({ memoryMiB, emulated }) * 2 ** 20;
  for (const { file } of limits.filter(({ file: name }) => /\/memory\.(max|limit_in_bytes)$/.test(name))) {
    try {
      const now = readFileSync(file, 'utf8').trim();
      if (now !== 'max' && Number(now) < bytes) writeFileSync(file, `${bytes}`);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new VmError('IO', `can't give the VMM more memory: ${message}`, { path: file, errno: code, cause: error });
    }
  }
}

/** Whether the VMM has seen it from its start. */
function isShown({ jail }: ConfinementPlan, file: string, readOnly: boolean): boolean {
  return (jail?.mounts ?? []).some(
    (mount) =>
      (mount.path === file || (mount.kind === 'folder' && file.startsWith(`${mount.path}/`))) &&
      (readOnly || !mount.readOnly),
  );
}

/** Runs a tool where the VMM's mounts are. @throws {VmError} HOST_MISSING, IO */
export async function inNamespace(
  vmm: RunningVmm,
  plan: ConfinementPlan,
  tool: ToolName,
  words: readonly string[],
  call: CallOptions,
): Promise<void> {
  const what = `can't change what the VMM sees`;
  const user = plan.namespaces.includes('user') ? ['--user', '--preserve-credentials'] : [];
  if (user.length === 0 && tool !== 'mknod' && entersNamespaces) {
    try {
      await run([await toolPath(tool), '--namespace', `${vmm.pid}`, ...words], what, call);
      return;
    } catch (error) {
      if (!/(unrecognized|unknown|invalid) option/.test(VmError.from(error).rawMessage)) throw error;
      entersNamespaces = false;
    }
  }
  const enter = [await toolPath('nsenter'), '--target', `${vmm.pid}`, ...user, '--mount', '--', await toolPath(tool)];
  await run([...enter, ...words], what, call);
}

/** mount(8) and umount(8) go to another namespace by themselves, which spares a program, where they are util-linux' and not old. */
let entersNamespaces = true;

/** How many mounts the VMM has at a path of its jail. */
function mountsAt({ pid }: RunningVmm, file: string): number {
  return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split(` ${escaped(file)} `).length - 1;
}

/** The namespace may know an older mount under that path. */
function requireSame({ pid }: RunningVmm, seen: Seen): void {
  const [there, here] = [statSync(`/proc/${pid}/root${seen.path}`), statSync(seen.path)];
  if (there.ino === here.ino && there.dev === here.dev) return;
  throw new VmError(
    'IO',
    `the VMM sees another file at ${seen.path}: what is mounted there has changed since it started`,
    {
      path: seen.path,
    },
  );
}

/** As /proc/PID/mountinfo writes it. */
export function escaped(file: string): string {
  return file.replaceAll(/[ \t\n\\]/g, (sign) => `\\${sign.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

async function toolPath(name: ToolName): Promise<string> {
  const found = (await readHostPowers()).tools[name];
  if (found !== undefined) return found;
  throw new VmError('HOST_MISSING', `${name} is not on this host`, { advice: 'Install util-linux.' });
}

async function run(words: readonly string[], what: string, { signal }: CallOptions): Promise<void> {
  const [program = '', ...rest] = words;
  // Without the files of a language, which take these tools longer than what they do.
  const env = { ...process.env, LC_ALL: 'C' };
  const running = promisify(execFile)(program, rest, { timeout: toolMs, signal, env });
  const { child } = running;
  try {
    await running;
  } catch (error) {
    // One that was told to end is told so before it has: what it has done until then is to be seen.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    const said = (error as { stderr?: string }).stderr?.trim() ?? '';
    throw new VmError('IO', `${what}: ${said === '' ? VmError.from(error).rawMessage : said}`, { cause: error });
  }
}
