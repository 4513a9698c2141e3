import { createHash } from 'node:crypto';
import { userInfo } from 'node:os';
import path from 'node:path';
import { VmError } from '../errors.ts';
import type { ProcessIdentity } from './process-identity.ts';

/*
 * Every name that polyvisor gives to something on disk. docs/state.md explains each.
 */

/** `sun_path` of a unix socket holds 108 bytes, its closing zero included (unix(7)). */
export const maxSocketPathBytes = 107;

/** The VMM's own folder, `<runtime>/<id>/`: sockets and logs that the VMM writes. */
export const vmmFiles: {
  qmpSocket(folder: string): string;
  agentSocket(folder: string, port: number): string;
  consoleSocket(folder: string): string;
  console(folder: string): string;
  events(folder: string): string;
  eventsIn(folder: string): string;
  eventsOut(folder: string): string;
  migration(folder: string): string;
  dump(folder: string): string;
  machine(folder: string): string;
  apiSocket(folder: string): string;
  vsockSocket(folder: string): string;
  metrics(folder: string): string;
  deviceSocket(folder: string, id: string): string;
  monitorSocket(folder: string): string;
  anchorDisk(folder: string): string;
} = {
  qmpSocket: (folder) => path.join(folder, 'qmp.sock'),
  /** channel 0 to 7 of the guest agent */
  agentSocket: (folder, port) => path.join(folder, `agent${port}.sock`),
  consoleSocket: (folder) => path.join(folder, 'console.sock'),
  console: (folder) => path.join(folder, 'console.log'),
  /** what QEMU's `-chardev pipe` is given: it adds `.in` and `.out` itself */
  events: (folder) => path.join(folder, 'ev'),
  eventsIn: (folder) => path.join(folder, 'ev.in'),
  eventsOut: (folder) => path.join(folder, 'ev.out'),
  /** carries memory and devices while they are saved or restored */
  migration: (folder) => path.join(folder, 'migration.sock'),
  /** FIFO that carries a dump of the guest's memory */
  dump: (folder) => path.join(folder, 'dump'),
  /** what the mock's machine is made of */
  machine: (folder) => path.join(folder, 'machine.json'),
  /** REST API of Firecracker and Cloud Hypervisor */
  apiSocket: (folder) => path.join(folder, 'api.sock'),
  /** where a VMM ends the guest's vsock; `_PORT` is added for the guest's own connections */
  vsockSocket: (folder) => path.join(folder, 'vsock.sock'),
  metrics: (folder) => path.join(folder, 'metrics.json'),
  /** of a device that has one: hashed, since a device's id may be longer than a socket's path has room for */
  deviceSocket: (folder, id) => path.join(folder, `device-${hash(id)}.sock`),
  /** commands for acrn-dm */
  monitorSocket: (folder) => path.join(folder, 'monitor.sock'),
  /** a disk that acrn-dm needs to be able to end */
  anchorDisk: (folder) => path.join(folder, 'anchor.img'),
};

/** No socket of ours in the VMM's folder has a longer name than this one. */
export const longestSocketName = 'cloud-hypervisor-api.sock';

/** Our folder of a VM, `<state>/vms/<name>/`: nobody else's business (0700). */
export const vmFiles: {
  config(folder: string): string;
  state(folder: string): string;
  plan(folder: string): string;
  lease(folder: string): string;
  alive(folder: string): string;
  exit(folder: string): string;
  start(folder: string): string;
  vmmLog(folder: string): string;
  lockToken(folder: string): string;
  confinement(folder: string): string;
  jail(folder: string): string;
  jailMounts(folder: string): string;
  jailCopies(folder: string): string;
  events(folder: string): string;
  devices(folder: string): string;
  attached(folder: string): string;
  hugePages(folder: string): string;
  scratch(folder: string): string;
  root(folder: string): string;
  folderImage(folder: string, id: string): string;
  folderFiles(folder: string, id: string): string;
  daemon(folder: string, id: string, what: 'lease' | 'start' | 'exit' | 'log'): string;
} = {
  /** the configuration as it was given */
  config: (folder) => path.join(folder, 'config.json'),
  /** the VM's record (store.ts) */
  state: (folder) => path.join(folder, 'state.json'),
  /** what the VMM was told */
  plan: (folder) => path.join(folder, 'plan.json'),
  /** FIFO: the VM lives while someone holds its write end */
  lease: (folder) => path.join(folder, 'lease'),
  /** FIFO: the VMM holds its write end as long as it lives, its keeper too */
  alive: (folder) => path.join(folder, 'alive'),
  /** how the VMM's process ended, as the keeper wrote it down */
  exit: (folder) => path.join(folder, 'exit'),
  /** how the VMM is started, for its keeper; gone when it has read it */
  start: (folder) => path.join(folder, 'start'),
  /** what the VMM wrote on stdout and stderr; opened by us, so it needs no place in the VMM's folder */
  vmmLog: (folder) => path.join(folder, 'vmm.log'),
  /** how the VMM is confined */
  confinement: (folder) => path.join(folder, 'confinement.json'),
  /** mount points: the VMM's root, in its own mount namespace */
  jail: (folder) => path.join(folder, 'jail'),
  /** what is mounted there, as fstab(5) */
  jailMounts: (folder) => path.join(folder, 'jail.fstab'),
  /** copies of files that the VMM's uid may not read */
  jailCopies: (folder) => path.join(folder, 'jail-copies'),
  /** random part of the names of this VM's locks (lock.ts) */
  lockToken: (folder) => path.join(folder, 'lock-token'),
  /** what happened to the VM, a line of JSON each (event-log.ts) */
  events: (folder) => path.join(folder, 'events.jsonl'),
  /** the VM's devices and where they are plugged */
  devices: (folder) => path.join(folder, 'devices.json'),
  /** devices that the VM was given, as its user named them */
  attached: (folder) => path.join(folder, 'attached.json'),
  /** how many of the host's huge pages were reserved for the VM */
  hugePages: (folder) => path.join(folder, 'huge-pages.json'),
  /** an image of a folder of the host, for a guest with whose VMM no folder is shared */
  folderImage: (folder, id) => path.join(folder, `folder-${hash(id)}.erofs`),
  /** what was copied into the guest of a folder of the host, a line of JSON each (copy/baseline.ts) */
  folderFiles: (folder, id) => path.join(folder, `folder-${hash(id)}.jsonl`),
  /** the files of the image, for a guest that is no machine */
  root: (folder) => path.join(folder, 'root'),
  /** disk of the layer that takes what the guest writes to its root image */
  scratch: (folder) => path.join(folder, 'scratch.img'),
  /** of a device's own process, such as a folder's virtiofsd */
  daemon: (folder, id, what) => path.join(folder, `daemon-${id}.${what}`),
};

/** Twelve hexadecimal digits that stand for a text. */
function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/**
 * Name of a VM's folder while it is being filled (`new`) or emptied (`gone`): it tells by whom, so that what a killed
 * process left can be told from what a living one is at. No VM's name begins with a dot.
 */
export function stagingName(what: 'new' | 'gone', by: ProcessIdentity, id: string): string {
  return `.${what}-${by.pid}-${by.startTime}-${by.bootId}-${id}`;
}

/** Reads a staging name; undefined when it is none. */
export function stagingOf(entry: string): { by: ProcessIdentity; id: string } | undefined {
  const [, pid, startTime, boot, id] =
    /^\.(?:new|gone)-(\d+)-(\d+)-([0-9a-f-]{36})-([0-9a-f]{12})[0-9a-f]*$/.exec(entry) ?? [];
  if (boot === undefined || id === undefined) return undefined;
  return { by: { pid: Number(pid), startTime: Number(startTime), bootId: boot }, id };
}

/** Where everything is. All paths are absolute. */
export interface Places {
  /** state that must outlive a reboot */
  state: string;
  /** one folder per VM, by its name */
  vms: string;
  /** one folder per template, by its name */
  templates: string;
  /** one folder per snapshot that has a name, by it */
  snapshots: string;
  /** what can be made again: guest images, verdicts of probes */
  cache: string;
  images: string;
  /** kernels that were unpacked for VMMs that take ELF files */
  kernels: string;
  verdicts: string;
  /** root images that the user imported: nobody else may have them */
  roots: string;
  /** jails of VMs that are gone, for the next ones (confinement/jail-pool.ts) */
  jails: string;
  /** sockets and logs of running VMMs; one folder per VM, by its id */
  runtime: string;
  /** folders that must exist, be ours and be closed to others before anything is put below them, outermost first */
  privateFolders: readonly string[];
}

/**
 * Finds the places. Pure: looks at nothing but its argument and the user's id.
 * `POLYVISOR_HOME` overrides all; else the XDG base folders; without `XDG_RUNTIME_DIR` the runtime is /tmp/polyvisor-UID.
 * @throws {VmError} INVALID_ARGUMENT when POLYVISOR_HOME is not absolute, HOST_MISSING when there is no home folder
 */
export function places(env: NodeJS.ProcessEnv = process.env): Places {
  const ownHome = env['POLYVISOR_HOME'];
  const fallback = `/tmp/polyvisor-${process.getuid?.() ?? userInfo().uid}`;
  if (ownHome !== undefined && ownHome !== '') {
    if (!path.isAbsolute(ownHome)) {
      throw new VmError('INVALID_ARGUMENT', `POLYVISOR_HOME must be an absolute path, not ${JSON.stringify(ownHome)}`);
    }
    const home = path.resolve(ownHome);
    return assemble(path.join(home, 'state'), path.join(home, 'cache'), path.join(home, 'run'), fallback, [home]);
  }
  const state = path.join(xdg(env, 'XDG_STATE_HOME') ?? path.join(homeFolder(env), '.local', 'state'), 'polyvisor');
  const cache = path.join(xdg(env, 'XDG_CACHE_HOME') ?? path.join(homeFolder(env), '.cache'), 'polyvisor');
  const runtime = xdg(env, 'XDG_RUNTIME_DIR');
  return assemble(state, cache, runtime === undefined ? fallback : path.join(runtime, 'polyvisor'), fallback, []);
}

/** Where a cache server listens, unless it is told another place. */
export function cacheEndpoint(at: Places): string {
  return path.join(at.runtime, 'cache.sock');
}

/** The key with which what we save is signed. */
export function sealKeyFile(at: Places): string {
  return path.join(at.state, 'seal-key');
}

/** Our folder of a VM. The name must have been checked (store.ts does). */
export function vmFolder(at: Places, name: string): string {
  return path.join(at.vms, name);
}

/** The VMM's folder of a VM. @param id 12 hexadecimal digits */
export function runtimeFolder(at: Places, id: string): string {
  return path.join(at.runtime, id);
}

function assemble(state: string, cache: string, wanted: string, fallback: string, above: string[]): Places {
  // What counts is the longest socket path that any VM can have; ids are all of one length.
  const longest = path.join(wanted, '0'.repeat(12), longestSocketName);
  const fits = Buffer.byteLength(longest) <= maxSocketPathBytes;
  const digest = createHash('sha256').update(wanted).digest('hex').slice(0, 12);
  const runtime = fits ? wanted : path.join(fallback, digest);
  const vms = path.join(state, 'vms');
  return {
    state,
    vms,
    templates: path.join(state, 'templates'),
    snapshots: path.join(state, 'snapshots'),
    cache,
    images: path.join(cache, 'images'),
    kernels: path.join(cache, 'kernels'),
    verdicts: path.join(cache, 'verdicts'),
    roots: path.join(state, 'images'),
    // Beside the VMs' folders: a jail is moved between them.
    jails: path.join(state, 'jails'),
    runtime,
    privateFolders: [...above, state, vms, ...(fits ? [] : [fallback]), runtime],
  };
}

/** A relative path in these variables is to be ignored (XDG Base Directory Specification). */
function xdg(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name];
  return value !== undefined && path.isAbsolute(value) ? value : undefined;
}

function homeFolder(env: NodeJS.ProcessEnv): string {
  const home = env['HOME'];
  if (home !== undefined && path.isAbsolute(home)) return home;
  const { homedir } = userInfo();
  if (path.isAbsolute(homedir)) return homedir;
  throw new VmError('HOST_MISSING', 'this user has no home folder', { advice: 'Set HOME or POLYVISOR_HOME.' });
}
