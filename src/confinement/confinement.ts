import { closeSync, existsSync, lchownSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../errors.ts';
import { writeUnflushed } from '../state/atomic-file.ts';
import { vmFiles } from '../state/paths.ts';
import { freeUids, takeUid, uidRange } from '../state/uid-range.ts';
import { makeCgroup, removeCgroup } from './cgroup.ts';
import {
  type ConfinementPlan,
  type ConfinementSubject,
  missingMeasures,
  missingText,
  planConfinement,
  planNamespaces,
} from './confinement-plan.ts';
import { type HostPowers, readHostPowers } from './host-powers.ts';
import { jailAt, listMounts, makeJail } from './jail.ts';
import { keepJail, takeJail } from './jail-pool.ts';
import { libraryFolders, libraryFolders32, loaderFiles, plainDevices, scriptFolders } from './jail-plan.ts';
import type { ConfinementLevel } from './level.ts';
import { type Seen, survey } from './survey.ts';
import { keeperThrough, type Through, throughOf } from './through.ts';

/** A VMM that is about to be started, and what it is to see. */
export interface ConfinementRequest extends ConfinementSubject {
  level: ConfinementLevel;
  stateFolder: string;
  /** what it opens beside its own folder, its program and libraries */
  paths: readonly { path: string; access: 'read' | 'write'; optional?: boolean | undefined }[];
  networkNamespace?: string | undefined;
  /** what it inherits open, each by its number */
  descriptors?: readonly { number: number; path: string }[] | undefined;
  /** default `/` */
  workingFolder?: string | undefined;
  lockMemory?: boolean | undefined;
}

/** How a VMM is started, and how it is then confined. */
export interface Confined {
  plan: ConfinementPlan;
  through: Through;
  /**
   * Makes jail and cgroup, and gives the VMM its folder: to be called before it is started. @throws {VmError} HOST_MISSING, IO
   */
  make: () => void;
}

/** What is asked for when nobody says: as root everything, since root can have it; otherwise what this user can have. */
export function defaultLevel(): ConfinementLevel {
  return process.geteuid?.() === 0 ? 'strict' : 'best';
}

/**
 * Looks beforehand whether a level can be had.
 * @returns a line about what will be missing, or undefined
 * @throws {VmError} HOST_MISSING when `strict` can't be had
 */
export async function checkLevel(level: ConfinementLevel): Promise<string | undefined> {
  if (level === 'off') return undefined;
  const missing = missingMeasures(await readHostPowers());
  const text = missingText(missing);
  if (level !== 'strict' || text === undefined) return text;
  throw new VmError('HOST_MISSING', `this host can't confine a VMM strictly: ${text}`, {
    field: 'confinement',
    advice: `${missing[0]?.advice ?? ''} Or take what there is: \`--confinement best\`.`,
  });
}

/** The command through which the keeper of a VMM begins that is to be confined so. @throws {VmError} HOST_MISSING */
export async function throughForKeeper(level: ConfinementLevel): Promise<readonly string[]> {
  const powers = await readHostPowers();
  return keeperThrough(planNamespaces(level, powers), powers.tools);
}

/** The plan for a VM that is not made: its uid is the first of the range. @throws {VmError} as {@link confine} */
export async function previewConfinement(request: ConfinementRequest): Promise<ConfinementPlan> {
  const powers = await readHostPowers();
  return planConfinement(request.level, request, powers, seenBy(request, powers), uidRange().first);
}

/**
 * Decides how a VMM is confined, and takes its uid. What is to be made is written down first, and goes with {@link releaseConfinement}.
 * @throws {VmError} PERMISSION, FILE_NOT_FOUND, HOST_MISSING, BUSY when no uid is left, IO
 */
export async function confine(request: ConfinementRequest): Promise<Confined> {
  const { level, id, stateFolder, runtimeFolder } = request;
  const powers = await readHostPowers();
  requireLabels(request, powers);
  const uid = level !== 'off' && powers.ownUid === true ? takeUid(id) : 0;
  const plan = planConfinement(level, request, powers, seenBy(request, powers), uid);
  await writeUnflushed(vmFiles.confinement(stateFolder), `${JSON.stringify(plan, undefined, 2)}\n`);
  const jail = plan.jail && jailAt(stateFolder, plan.jail);
  const make = (): void => {
    if (plan.jail !== undefined) {
      if (!takeJail(stateFolder, plan)) makeJail(vmFiles.jail(stateFolder), plan.jail, plan.uid);
      listMounts(stateFolder, plan.jail, plan.uid);
    }
    if (plan.cgroup !== undefined) makeCgroup(plan.cgroup);
    if (plan.uid !== undefined) giveFolder(runtimeFolder, plan.uid);
  };
  return { plan, through: throughOf(plan, { ...request, jail, tools: powers.tools }), make };
}

/** How a VM's VMM was confined when it was last started; undefined before that, and when it can't be read. */
export function readConfinement(stateFolder: string): ConfinementPlan | undefined {
  try {
    const plan = JSON.parse(readFileSync(vmFiles.confinement(stateFolder), 'utf8')) as Partial<ConfinementPlan> | null;
    return plan?.schema === 1 ? (plan as ConfinementPlan) : undefined;
  } catch {
    return undefined;
  }
}

/** Gives back what a VM's confinement took of the host: cgroup and uid, and its jail, which another VM can have. Its VMM must have ended. May be repeated. @throws {VmError} IO */
export async function releaseConfinement(stateFolder: string, id?: string): Promise<void> {
  const plan = readConfinement(stateFolder);
  const owner = id ?? plan?.id;
  if (owner === undefined) return;
  await removeCgroup(owner, plan?.cgroup?.folders ?? []);
  freeUids(owner);
  if (plan?.jail !== undefined) keepJail(stateFolder, plan);
}

const selinux = '/sys/fs/selinux';

/** What setpriv needs to give a label (util-linux, sys-utils/setpriv.c). */
function labelPaths(label: string | undefined): { path: string; access: 'read' | 'write'; optional: true }[] {
  if (label === undefined) return [];
  return [
    { path: selinux, access: 'read', optional: true },
    { path: '/proc', access: 'write', optional: true },
  ];
}

/** @throws {VmError} HOST_MISSING, UNSUPPORTED where a label that is asked for can't be given */
function requireLabels({ level, selinuxLabel }: ConfinementRequest, powers: HostPowers): void {
  if (selinuxLabel === undefined) return;
  const field = 'selinuxProcessLabel';
  if (!existsSync(path.join(selinux, 'enforce')))
    throw new VmError('HOST_MISSING', 'this host has no SELinux, by which the VMM could get a label', {
      field,
      advice: 'Leave `selinuxProcessLabel` out.',
    });
  if (level === 'off' || powers.namespaces !== 'user') return;
  throw new VmError('UNSUPPORTED', "in an ordinary user's jail, which has no /proc, no label can be given", {
    field,
    advice: 'Run polyvisor as root, or use `--confinement off`.',
  });
}

/** What the VMM opens, as the host shows it. */
function seenBy({ level, binary, paths, selinuxLabel }: ConfinementRequest, powers: HostPowers): Seen[] {
  if (level === 'off' || typeof powers.namespaces !== 'string') return [];
  const optional = [...libraryFolders, ...loaderFiles, ...plainDevices, ...programNeeds(binary)].map(
    (file) => ({ path: file, access: file.startsWith('/dev/') ? 'write' : 'read', optional: true }) as const,
  );
  return survey([...optional, { path: binary, access: 'read' }, ...labelPaths(selinuxLabel), ...paths]);
}

/** What a VMM needs for being a script, whose first words are `#!` and its interpreter, or an ELF file of 32 bits (elf(5): EI_CLASS). */
function programNeeds(binary: string): readonly string[] {
  const head = Buffer.alloc(256);
  const fd = openSync(binary, 'r');
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  if (head.toString('latin1', 1, 4) === 'ELF' && head[4] === 1) return libraryFolders32;
  const interpreter = /^#!\s*(\/\S+)/.exec(head.toString('latin1'))?.[1];
  return interpreter === undefined ? [] : [...scriptFolders, interpreter];
}

/** The VMM's folder becomes its own, with what we have put there. No VMM runs yet. */
function giveFolder(folder: string, uid: number): void {
  for (const name of ['', ...readdirSync(folder)]) lchownSync(path.join(folder, name), uid, uid);
}
