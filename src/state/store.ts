import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { isValidName, validateName } from '../config/names.ts';
import { suggest } from '../config/suggest.ts';
import { VmError } from '../errors.ts';
import { writeAtomically, writeUnflushed } from './atomic-file.ts';
import { type HeldLock, lock } from './lock.ts';
import { places, runtimeFolder, stagingName, stagingOf, vmFiles, vmFolder, type Places } from './paths.ts';
import { ensurePrivateFolder } from './private-folder.ts';
import { isAlive, ownIdentity } from './process-identity.ts';
import { parseRecord, recordSchema, type VmRecord } from './record.ts';

/** A record is a few kilobytes; anything near this is not one of ours. */
const maxRecordBytes = 4 * 2 ** 20;

/** How often a list is made anew because of VMs that vanished meanwhile. */
const maxLooks = 5;

/** What a new VM's record says beside what the store fills in itself. */
export type NewVm = Pick<VmRecord, 'name' | 'hypervisor'> & Partial<Omit<VmRecord, 'schema' | 'runtimeFolder'>>;

/** An id that no VM has had. */
export function newVmId(): string {
  return randomBytes(6).toString('hex');
}

/** A VM as `list` finds it: with its record, or with the reason why that can't be read. */
export type ListedVm =
  | { name: string; folder: string; record: VmRecord; broken?: undefined }
  | { name: string; folder: string; record?: undefined; broken: VmError };

/**
 * The records of all VMs of this user. Files are the truth: every call looks at the disk, and any number of processes
 * may work on them at once. Names are checked, so that none leads out of the folder.
 */
export class VmStore {
  readonly places: Places;

  constructor(at: Places = places()) {
    this.places = at;
  }

  /** Our folder of a VM, whether it is there or not. @throws {VmError} INVALID_NAME */
  folder(name: string): string {
    return vmFolder(this.places, validateName(name));
  }

  /** Our folder of a VM of this process that has no name yet, whether it is there or not. */
  staging(id: string): string {
    return path.join(this.places.vms, stagingName('new', ownIdentity(), id));
  }

  /** Makes that folder. It goes with this process, unless `create` gives it a name. @throws {VmError} PERMISSION, IO */
  async stage(id: string): Promise<string> {
    for (const place of this.places.privateFolders) await ensurePrivateFolder(place);
    await this.sweep();
    const staging = this.staging(id);
    try {
      mkdirSync(staging, { mode: 0o700 });
    } catch (error) {
      throw notMade(error as NodeJS.ErrnoException, staging);
    }
    return staging;
  }

  /**
   * Reserves a name and makes both folders of a VM. The name appears together with its whole record, by one rename:
   * nobody ever sees a half-made VM, and of two who want one name one gets it.
   * @param staged the VM's folder, if there is one: what `stage` has made for this id
   * @throws {VmError} INVALID_NAME, NAME_IN_USE, PERMISSION, IO; nothing is left behind
   */
  async create(vm: NewVm, staged?: string): Promise<VmRecord> {
    const folder = this.folder(vm.name);
    const { id = newVmId() } = vm;
    const owner = ownIdentity();
    const record: VmRecord = {
      createdAt: new Date().toISOString(),
      status: 'creating',
      detached: false,
      owner,
      ...vm,
      schema: recordSchema,
      id,
      runtimeFolder: runtimeFolder(this.places, id),
    };
    const staging = staged ?? (await this.stage(id));
    try {
      mkdirSync(record.runtimeFolder, { mode: 0o700 });
      await writeUnflushed(vmFiles.state(staging), format(record));
      renameSync(staging, folder);
    } catch (error) {
      await rm(staging, { recursive: true, force: true });
      await rm(record.runtimeFolder, { recursive: true, force: true });
      throw notMoved(error as NodeJS.ErrnoException, vm.name, folder);
    }
    return record;
  }

  /** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
  async read(name: string): Promise<VmRecord> {
    const file = vmFiles.state(this.folder(name));
    let text: string;
    try {
      text = readRecord(file);
    } catch (error) {
      throw await this.#unreadable(name, file, error as NodeJS.ErrnoException);
    }
    const record = parseRecord(text, file);
    if (record.name === name) return record;
    // Its folder was given this name, and who did it has not yet told the record, or never will.
    if (record.renamingTo === name) return { ...record, name, renamingTo: undefined };
    throw new VmError('STATE_INVALID', `${file} belongs to a VM named ${record.name}`, { name, path: file });
  }

  /**
   * The record of that very VM, whatever its name has become.
   * @param vm its id, and the name that it had when it was last seen
   * @throws {VmError} NOT_FOUND when it was removed, also when another VM has its name now; STATE_INVALID
   */
  async find({ id, name }: { id: string; name: string }): Promise<VmRecord> {
    let broken: VmError | undefined;
    const there = await this.read(name).catch((error: unknown) => {
      broken = VmError.from(error);
      return undefined;
    });
    if (there?.id === id) return there;
    const renamed = (await this.list()).find(({ record }) => record?.id === id);
    if (renamed?.record !== undefined) return renamed.record;
    if (broken?.code === 'STATE_INVALID') throw broken;
    throw new VmError('NOT_FOUND', `the VM ${name} of this handle (id ${id}) was removed`, {
      name,
      advice:
        there === undefined
          ? '`polyvisor ls -a` lists the VMs that there are.'
          : `Another VM is named ${name} now; this handle does not touch it. Use \`Vm.connect\` to take that one up.`,
    });
  }

  /**
   * Changes a record under its lock, so that two who change different fields at once both succeed.
   * @param vm its present name; or its id and a name that it had, and then no other VM of that name is ever changed
   * @param change fields to set, or a function of the present record
   * @throws {VmError} NOT_FOUND, STATE_INVALID, BUSY, IO
   */
  async update(
    vm: string | { id: string; name: string },
    change: Partial<VmRecord> | ((record: VmRecord) => Partial<VmRecord>),
    options: CallOptions = {},
  ): Promise<VmRecord> {
    return this.#change(vm, options, async (before) => {
      const changed = typeof change === 'function' ? change(before) : change;
      const { schema, id, name, runtimeFolder: runtime } = before;
      const record = { ...before, ...changed, schema, id, name, runtimeFolder: runtime };
      const write = outlivesTheHost(record) ? writeAtomically : writeUnflushed;
      await write(vmFiles.state(this.folder(name)), format(record));
      return record;
    });
  }

  /**
   * Gives a VM another name, whatever it is at. Everyone sees the old name or the new one, and of two who want one name
   * one gets it: the folder's rename decides. The record says beforehand which name its folder may get.
   * @throws {VmError} NAME_IN_USE, NOT_FOUND, INVALID_NAME, BUSY, IO
   */
  async rename(vm: { id: string; name: string }, to: string, options: CallOptions = {}): Promise<VmRecord> {
    const folder = this.folder(to);
    return this.#change(vm, options, async (before) => {
      if (before.name === to) throw nameInUse(to);
      await writeAtomically(vmFiles.state(this.folder(before.name)), format({ ...before, renamingTo: to }));
      try {
        renameSync(this.folder(before.name), folder);
      } catch (error) {
        await writeAtomically(vmFiles.state(this.folder(before.name)), format(before));
        throw notMoved(error as NodeJS.ErrnoException, to, folder);
      }
      const record = { ...before, name: to, renamingTo: undefined };
      await writeAtomically(vmFiles.state(folder), format(record));
      return record;
    });
  }

  /** Does something with a record under its lock. */
  async #change(
    vm: string | { id: string; name: string },
    options: CallOptions,
    act: (before: VmRecord) => Promise<VmRecord>,
  ): Promise<VmRecord> {
    const read = (): Promise<VmRecord> => (typeof vm === 'string' ? this.read(vm) : this.find(vm));
    const held = await this.#lockRecord(read, { signal: options.signal, timeoutMs: options.timeoutMs ?? 10_000 });
    try {
      return await act(await read());
    } finally {
      await held.release();
    }
  }

  /** A folder that gets another name just when its lock is taken is found again under that name. */
  async #lockRecord(read: () => Promise<VmRecord>, limit: CallOptions): Promise<HeldLock> {
    for (;;) {
      const { name } = await read();
      try {
        return await lock(this.folder(name), 'record', limit);
      } catch (error) {
        if (VmError.from(error).code !== 'NOT_FOUND' || (await read()).name === name) throw error;
      }
    }
  }

  /**
   * All VMs, by name. Never fails because of one of them: what can't be read is listed as broken, what vanishes
   * meanwhile is left out, and what can't be a VM's folder is not looked at.
   * @throws {VmError} IO when the folder of all VMs can't be read
   */
  async list(): Promise<ListedVm[]> {
    // What vanishes while we look may have got another name, under which it was not seen yet.
    for (let look = 1; ; look++) {
      const { found, vanished } = await this.#look();
      if (!vanished || look === maxLooks) return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    }
  }

  async #look(): Promise<{ found: ListedVm[]; vanished: boolean }> {
    const found: ListedVm[] = [];
    let vanished = false;
    for (const name of (await this.#entries()).filter(isValidName)) {
      const folder = this.folder(name);
      try {
        found.push({ name, folder, record: await this.read(name) });
      } catch (error) {
        const broken = VmError.from(error, 'STATE_INVALID', { name });
        if (broken.code === 'NOT_FOUND') vanished = true;
        else found.push({ name, folder, broken });
      }
    }
    return { found, vanished };
  }

  /**
   * Removes both folders of a VM; nothing happens when there is none. The name is free at once.
   * The VMM must have ended.
   * @throws {VmError} INVALID_NAME, IO
   */
  async remove(name: string): Promise<void> {
    const folder = this.folder(name);
    const record = await this.read(name).catch(() => undefined);
    const owner = ownIdentity();
    const id = record?.id ?? randomBytes(6).toString('hex');
    const gone = path.join(this.places.vms, stagingName('gone', owner, `${id}${randomBytes(3).toString('hex')}`));
    try {
      if (record !== undefined) await removeRuntime(record);
      renameSync(folder, gone);
      await rm(gone, { recursive: true, force: true });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT')
        throw new VmError('IO', `can't remove ${folder}: ${message}`, {
          name,
          path: folder,
          errno: code,
          cause: error,
        });
    }
  }

  /** Clears what processes left that were killed while they made or removed a VM. */
  async sweep(): Promise<void> {
    for (const entry of await this.#entries()) {
      const staging = stagingOf(entry);
      if (staging === undefined || isAlive(staging.by)) continue;
      await rm(runtimeFolder(this.places, staging.id), { recursive: true, force: true });
      await rm(path.join(this.places.vms, entry), { recursive: true, force: true });
    }
  }

  async #entries(): Promise<string[]> {
    try {
      return readdirSync(this.places.vms);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return [];
      throw new VmError('IO', `can't read ${this.places.vms}: ${message}`, {
        path: this.places.vms,
        errno: code,
        cause: error,
      });
    }
  }

  async #unreadable(name: string, file: string, error: NodeJS.ErrnoException): Promise<VmError> {
    const entries = await this.#entries();
    const near = suggest(name, entries.filter(isValidName));
    return error.code === 'ENOENT' && !entries.includes(name)
      ? new VmError('NOT_FOUND', `there is no VM named ${name}`, {
          name,
          advice: near === undefined ? undefined : `Did you mean ${near}? \`polyvisor ls -a\` lists all names.`,
        })
      : new VmError('STATE_INVALID', `can't read ${file}: ${error.message}`, {
          name,
          path: file,
          errno: error.code,
          cause: error,
        });
  }
}

/**
 * The text of a record. Read in one go, without the detour over Node's threads: that takes ten times as long, and a list
 * of VMs reads them all.
 */
function readRecord(file: string): string {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > maxRecordBytes) throw new Error('it is no ordinary file, or too long');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function nameInUse(name: string): VmError {
  return new VmError('NAME_IN_USE', `there is a VM named ${name} already`, { name });
}

/** Why a folder did not get its name. */
function notMoved(error: NodeJS.ErrnoException, name: string, folder: string): VmError {
  const { code } = error;
  if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') return nameInUse(name);
  return notMade(error, folder);
}

function notMade(error: NodeJS.ErrnoException, folder: string): VmError {
  const { code, message } = error;
  if (error instanceof VmError) return error;
  return new VmError('IO', `can't make the VM's folders: ${message}`, { path: folder, errno: code, cause: error });
}

/** Whether a record must be there after a crash of the host: one of a VM that runs, or is on its way, says nothing then. */
function outlivesTheHost({ status }: VmRecord): boolean {
  return status === 'created' || status === 'stopped' || status === 'failed';
}

function format(record: VmRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** A record names the folder; only one that can be a VMM's is removed. */
async function removeRuntime(record: VmRecord): Promise<void> {
  if (path.basename(record.runtimeFolder) !== record.id) return;
  await rm(record.runtimeFolder, { recursive: true, force: true });
}
