import path from 'node:path';
import type { Controller } from './cgroup-host.ts';
import type { HostPowers } from './host-powers.ts';
import { type JailPlan, planJail } from './jail-plan.ts';
import type { ConfinementLevel } from './level.ts';
import type { Seen } from './survey.ts';

export const measures = ['uid', 'namespaces', 'no-new-privileges', 'capabilities', 'cgroup'] as const;
/** One of the things that confine a VMM. */
export type Measure = (typeof measures)[number];

/** A measure that is not taken, why not, and what can be done about it. */
export interface MissingMeasure {
  measure: Measure;
  reason: string;
  advice: string;
}

/** How one VMM is confined, as plain data: the result of a pure function, so that it can be shown without starting anything. */
export interface ConfinementPlan {
  schema: 1;
  /** of the VM */
  id: string;
  level: ConfinementLevel;
  /** user and group of its own; the caller's when absent */
  uid?: number | undefined;
  /** other groups that it is in: none when absent, but for the caller's where it has no uid of its own */
  groups: readonly number[];
  noNewPrivileges: boolean;
  /** what it may still do of what root may; `all` of the caller's when nothing is dropped */
  capabilities: readonly string[] | 'all';
  /** SELinux label of its process; what the policy says when absent */
  selinuxLabel?: string | undefined;
  /** made anew for it; `user` is how an ordinary user comes by the others */
  namespaces: readonly ('mount' | 'pid' | 'ipc' | 'uts' | 'user')[];
  /** all that it sees of the file system; everything that the caller sees when absent */
  jail?: JailPlan | undefined;
  cgroup?: CgroupPlan | undefined;
  /** most bytes that a file may grow to by its writing, its logs among them; no limit when absent */
  maxFileBytes?: number | undefined;
  /** what is missing to full confinement */
  missing: readonly MissingMeasure[];
}

/** Cgroup folders, and the values that are written into files of them. */
export interface CgroupPlan {
  version: 1 | 2;
  folders: readonly string[];
  /** path of a file, and what is written to it */
  limits: readonly { file: string; value: string }[];
  /** controllers that must be on for the folder's parent (version 2) */
  controllers: readonly Controller[];
}

/** What is to be confined. */
export interface ConfinementSubject {
  id: string;
  /** the VMM's own folder */
  runtimeFolder: string;
  binary: string;
  memoryMiB: number;
  vcpus: number;
  /** whether the guest's processor is emulated, which takes memory of its own */
  emulated: boolean;
  /** CPUs' worth of time that it may use; no limit when absent */
  cpuLimit?: number | undefined;
  largestFileBytes?: number | 'unlimited' | undefined;
  selinuxLabel?: string | undefined;
  /** locks guest memory, or maps hardware into it */
  hugePages: boolean;
}

/** Every VMM may write this much: logs need no more, and no less. */
export const logBytes: number = 64 * 2 ** 20;

/** The VMM's own memory beside the guest's, in MiB: programs, device state, queues, and page tables of the guest's memory. */
const overheadMiB = 512;
/** QEMU's translations of guest code (tb-size: 1 GiB at most by default). */
const translationsMiB = 1024;
/** Threads of a VMM beside one per vCPU: QEMU's pool for block devices has 64. */
const otherThreads = 192;

/**
 * Decides how a VMM is confined. Pure.
 * @param seen what the host shows of the paths that it opens
 * @param uid the one that is reserved for it, for a host where it can have one
 */
export function planConfinement(
  level: ConfinementLevel,
  subject: ConfinementSubject,
  powers: HostPowers,
  seen: readonly Seen[],
  uid: number,
): ConfinementPlan {
  const bounded = subject.largestFileBytes === 'unlimited' ? undefined : (subject.largestFileBytes ?? 0);
  const maxFileBytes = bounded === undefined ? undefined : Math.max(logBytes, bounded);
  const { id, selinuxLabel } = subject;
  const base = { schema: 1 as const, id, level, maxFileBytes, ...(selinuxLabel === undefined ? {} : { selinuxLabel }) };
  const open = { groups: [], noNewPrivileges: false, capabilities: 'all' as const, namespaces: [] };
  if (level === 'off') return { ...base, ...open, missing: [] };
  const missing = missingMeasures(powers);
  const lacks = (measure: Measure): boolean => missing.some((one) => one.measure === measure);
  const own = !lacks('uid') && !lacks('namespaces');
  const groups = own ? groupsFor(seen) : [];
  // In its jail it then opens what root may: without that, files that are root's alone can't be given to another uid.
  const keepsAccess = own && level === 'best';
  const jailed = typeof powers.namespaces === 'string';
  return {
    ...base,
    uid: own ? uid : undefined,
    groups,
    noNewPrivileges: !lacks('no-new-privileges'),
    capabilities: powers.capabilities !== 'droppable' ? 'all' : keepsAccess ? ['CAP_DAC_OVERRIDE'] : [],
    namespaces: planNamespaces(level, powers),
    jail: jailed
      ? planJail(subject, seen, { uid: own ? uid : undefined, groups, all: keepsAccess, tools: powers.tools })
      : undefined,
    cgroup: typeof powers.cgroups === 'string' ? undefined : planCgroup(subject, powers.cgroups),
    missing,
  };
}

/** The namespaces of every VMM that is confined so on this host. Pure. */
export function planNamespaces(level: ConfinementLevel, { namespaces }: HostPowers): ConfinementPlan['namespaces'] {
  if (level === 'off' || typeof namespaces !== 'string') return [];
  const own = ['mount', 'pid', 'ipc', 'uts'] as const;
  return namespaces === 'user' ? ['user', ...own] : own;
}

/** What this host and this user lack, whatever the VM. */
export function missingMeasures(powers: HostPowers): MissingMeasure[] {
  const found: MissingMeasure[] = [];
  const miss = (measure: Measure, reason: string, advice: string): void => void found.push({ measure, reason, advice });
  const asRoot = 'Run polyvisor as root.';
  if (powers.ownUid !== true) miss('uid', powers.ownUid, asRoot);
  if (typeof powers.namespaces !== 'string') {
    const advice =
      'Run polyvisor as root, or let this user make user namespaces (sysctl user.max_user_namespaces, AppArmor).';
    miss('namespaces', powers.namespaces.missing, advice);
  }
  if (powers.noNewPrivileges !== true) miss('no-new-privileges', powers.noNewPrivileges, 'Install util-linux.');
  if (typeof powers.capabilities !== 'string') miss('capabilities', powers.capabilities.missing, 'Install util-linux.');
  if (typeof powers.cgroups === 'string')
    miss(
      'cgroup',
      powers.cgroups,
      'Run polyvisor as root, or in a session whose cgroup systemd delegates to the user.',
    );
  return found;
}

/** One line about what is missing; undefined when nothing is. */
export function missingText(missing: readonly MissingMeasure[]): string | undefined {
  if (missing.length === 0) return undefined;
  const names: Record<Measure, string> = {
    uid: 'a uid of its own',
    namespaces: 'namespaces',
    'no-new-privileges': 'no-new-privs',
    capabilities: 'dropped capabilities',
    cgroup: 'a cgroup with limits',
  };
  return `the VMM is confined without ${missing.map(({ measure, reason }) => `${names[measure]} (${reason})`).join('; ')}`;
}

/** Devices that a group may use keep their group; the kernel's own, 0, is never given. */
function groupsFor(seen: readonly Seen[]): number[] {
  const groups = seen.filter(({ kind, mode, gid }) => kind === 'device' && (mode & 0o060) === 0o060 && gid !== 0);
  return [...new Set(groups.map(({ gid }) => gid))];
}

function planCgroup(
  subject: ConfinementSubject,
  host: { version: 1 | 2; parents: Readonly<Partial<Record<Controller, string>>> },
): CgroupPlan {
  const { id, vcpus, cpuLimit } = subject;
  const folderOf = (controller: Controller): string | undefined => {
    const parent = host.parents[controller];
    return parent === undefined ? undefined : path.join(parent, cgroupName(id));
  };
  const limits: { file: string; value: string }[] = [];
  const limit = (controller: Controller, file: string, value: string): void => {
    const folder = folderOf(controller);
    if (folder !== undefined) limits.push({ file: path.join(folder, file), value });
  };
  const memory = `${memoryLimitMiB(subject) * 2 ** 20}`;
  limit('memory', host.version === 2 ? 'memory.max' : 'memory.limit_in_bytes', memory);
  limit('pids', 'pids.max', `${vcpus + otherThreads}`);
  if (cpuLimit !== undefined) {
    const [periodUs, quotaUs] = [100_000, Math.max(1000, Math.round(cpuLimit * 100_000))];
    if (host.version === 2) limit('cpu', 'cpu.max', `${quotaUs} ${periodUs}`);
    else limit('cpu', 'cpu.cfs_quota_us', `${quotaUs}`);
  }
  const folders = [...new Set(limits.map(({ file }) => path.dirname(file)))];
  return { version: host.version, folders, limits, controllers: Object.keys(host.parents) as Controller[] };
}

/** Name of a VM's cgroup. */
export function cgroupName(id: string): string {
  return `polyvisor-${id}`;
}

/** Memory that a VMM may take in all, in MiB. */
export function memoryLimitMiB({ memoryMiB, emulated }: Pick<ConfinementSubject, 'memoryMiB' | 'emulated'>): number {
  return memoryMiB + overheadMiB + Math.ceil(memoryMiB / 64) + (emulated ? translationsMiB : 0);
}
