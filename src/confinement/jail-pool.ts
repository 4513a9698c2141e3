import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { packageVersion } from '../config/package-version.ts';
import { places, vmFiles } from '../state/paths.ts';
import type { ConfinementPlan } from './confinement-plan.ts';
import { ownDevices, ownNode } from './jail.ts';

/*
 * Jails of VMs that are gone, for others that see the same: their mount points. To make them anew costs a file system three dozen
 * inodes, and ext4, which gives nobody an inode that was freed a moment ago (recently_deleted in fs/ext4/ialloc.c), looks for each of
 * them longer the more VMs have come and gone. A jail is moved here, and from here, by one rename, and is never two VMs'.
 */

/** As many are kept: each is a folder of empty ones. */
const maxKept = 32;

/** Stands in a kept jail for the VMM's own folder, whose name is the VM's id. */
const placeholder = '.own';

/**
 * Gives a VM a kept jail, if there is one that has all its mount points and no others. That this fails, for whatever reason, is no reason
 * not to make one: nothing is left in its place then.
 */
export function takeJail(stateFolder: string, plan: ConfinementPlan): boolean {
  const root = vmFiles.jail(stateFolder);
  const own = ownFolder(plan);
  if (own === undefined || existsSync(root)) return false;
  const prefix = `${layoutOf(plan, own)}-`;
  for (const name of kept().filter((entry) => entry.startsWith(prefix))) {
    try {
      renameSync(path.join(places().jails, name), root);
      renameSync(path.join(root, path.dirname(own), placeholder), path.join(root, own));
      return true;
    } catch {
      // Another VM was faster, or somebody is removing them.
      rmSync(root, { recursive: true, force: true });
    }
  }
  return false;
}

/**
 * Keeps the jail of a VM whose VMM has ended, if it is as it was made and others could use it. One that can't be kept goes with the VM's
 * folder, which is what removes a VM: nothing here may stand in its way.
 */
export function keepJail(stateFolder: string, plan: ConfinementPlan): void {
  const root = vmFiles.jail(stateFolder);
  const own = ownFolder(plan);
  // What lies in the VM's folder is no other VM's.
  if (own === undefined || plan.jail?.mounts.some((mount) => mount.path.startsWith(`${stateFolder}/`)) === true) return;
  try {
    if (!isAsPlanned(root, plan)) return;
    const layout = layoutOf(plan, own);
    mkdirSync(places().jails, { recursive: true, mode: 0o700 });
    if (!makeRoom(layout)) return;
    renameSync(path.join(root, own), path.join(root, path.dirname(own), placeholder));
    renameSync(root, path.join(places().jails, `${layout}-${plan.id}`));
  } catch {
    // On another file system, say, or without room for a folder.
  }
}

/** Removes another kind of jail when there are many. A name with a dot in front is nobody's who takes one. */
function makeRoom(layout: string): boolean {
  const all = kept();
  const going = all.filter((name) => name.startsWith('.'));
  if (all.length - going.length >= maxKept) {
    const unlike = all.find((name) => !name.startsWith('.') && !name.startsWith(layout));
    if (unlike === undefined) return false;
    renameSync(path.join(places().jails, unlike), path.join(places().jails, `.${unlike}`));
    going.push(`.${unlike}`);
  }
  for (const name of going) rmSync(path.join(places().jails, name), { recursive: true, force: true });
  return true;
}

function kept(): string[] {
  try {
    return readdirSync(places().jails);
  } catch {
    return [];
  }
}

/** The VMM's own folder: the one mount point whose path is this VM's alone. */
function ownFolder({ id, jail }: ConfinementPlan): string | undefined {
  return jail?.mounts.find((mount) => mount.kind === 'folder' && path.basename(mount.path) === id)?.path;
}

/** The same for two VMs whose jails have the same mount points, made by the same version. */
function layoutOf({ jail, uid }: ConfinementPlan, own: string): string {
  const mounts = (jail?.mounts ?? []).map((mount) => [mount.path === own ? path.dirname(own) : mount.path, mount.kind]);
  const nodes = (jail?.nodes ?? []).map((node) => node.path);
  const all = JSON.stringify([packageVersion(), uid !== undefined, mounts, nodes]);
  return createHash('sha256').update(all).digest('hex').slice(0, 16);
}

/** What a hot-plug has added, or could not take away again, is not for the next VM. */
function isAsPlanned(root: string, { jail, uid }: ConfinementPlan): boolean {
  const planned = new Map<string, 'file' | 'folder' | 'link'>();
  const add = (file: string, kind: 'file' | 'folder' | 'link'): void => {
    for (let at = path.dirname(file); at !== '/'; at = path.dirname(at)) planned.set(at, 'folder');
    if (planned.get(file) !== 'folder') planned.set(file, kind);
  };
  for (const mount of jail?.mounts ?? []) add(mount.path, mount.kind);
  for (const node of jail?.nodes ?? []) add(node.path, 'link');
  if (uid !== undefined) add(ownDevices, 'folder');
  const there = readdirSync(root, { recursive: true, withFileTypes: true });
  return (
    there.length === planned.size &&
    there.every((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const name = file.slice(root.length);
      const kind = planned.get(name);
      if (kind === 'link') return entry.isSymbolicLink() && readlinkSync(file) === ownNode(name);
      return kind === 'folder' ? entry.isDirectory() : kind === 'file' && entry.isFile();
    })
  );
}
