import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { isValidName, validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import { writeAtomically } from './atomic-file.ts';
import { lock } from './lock.ts';
import { places, runtimeFolder, stagingName, stagingOf, vmFiles, vmFolder, type Places } from './paths.ts';
import { ensurePrivateFolder } from './private-folder.ts';
import { isAlive, ownIdentity } from './process-identity.ts';
import { parseRecord, recordSchema, type VmRecord } from './record.ts';

/** A record is a few kilobytes; anything near this is not one of ours. */
const maxRecordBytes = 4 * 2 ** 20;

/** What a new VM's record says beside what the store fills in itself. */
export type NewVm = Pick<VmRecord, 'name' | 'hypervisor'> & Partial<Omit<VmRecord, 'schema' | 'id' | 'runtimeFolder'>>;

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

  /**
   * Reserves a name and makes both folders of a VM. The name appears together with its whole record, by one rename:
   * nobody ever sees a half-made VM, and of two who want one name one gets it.
   * @throws {VmError} INVALID_NAME, NAME_IN_USE, PERMISSION, IO; nothing is left behind
   */
  async create(vm: NewVm): Promise<VmRecord> {
    const folder = this.folder(vm.name);
    for (const place of this.places.privateFolders) await ensurePrivateFolder(place);
    await this.sweep();
    const id = randomBytes(6).toString('hex');
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
    const staging = path.join(this.places.vms, stagingName('new', owner, id));
    try {
      await mkdir(staging, { mode: 0o700 });
      await mkdir(record.runtimeFolder, { mode: 0o700 });
      await writeAtomically(vmFiles.state(staging), format(record));
      await rename(staging, folder);
    } catch (error) {
      await rm(staging, { recursive: true, force: true });
      await rm(record.runtimeFolder, { recursive: true, force: true });
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') {
        throw new VmError('NAME_IN_USE', `there is a VM named ${vm.name} already`, { name: vm.name });
      }
      if (error instanceof VmError) throw error;
      throw new VmError('IO', `can't make the VM's folders: ${message}`, { path: folder, errno: code, cause: error });
    }
    return record;
  }

  /** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
  async read(name: string): Promise<VmRecord> {
    const file = vmFiles.state(this.folder(name));
    let text: string;
    try {
      const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const stat = await handle.stat();
        if (!stat.isFile() || stat.size > maxRecordBytes) throw new Error('it is no ordinary file, or too long');
        text = await handle.readFile('utf8');
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw await this.#unreadable(name, file, error as NodeJS.ErrnoException);
    }
    const record = parseRecord(text, file);
    if (record.name !== name)
      throw new VmError('STATE_INVALID', `${file} belongs to a VM named ${record.name}`, { name, path: file });
    return record;
  }

  /**
   * Changes a record under its lock, so that two who change different fields at once both succeed.
   * @param change fields to set, or a function of the present record
   * @throws {VmError} NOT_FOUND, STATE_INVALID, BUSY, IO
   */
  async update(
    name: string,
    change: Partial<VmRecord> | ((record: VmRecord) => Partial<VmRecord>),
    options: CallOptions = {},
  ): Promise<VmRecord> {
    const folder = this.folder(name);
    await this.read(name);
    const held = await lock(folder, 'record', { signal: options.signal, timeoutMs: options.timeoutMs ?? 10_000 });
    try {
      const before = await this.read(name);
      const changed = typeof change === 'function' ? change(before) : change;
      const { schema, id, runtimeFolder: runtime } = before;
      const record = { ...before, ...changed, schema, id, name, runtimeFolder: runtime };
      await writeAtomically(vmFiles.state(folder), format(record));
      return record;
    } finally {
      await held.release();
    }
  }

  /**
   * All VMs, by name. Never fails because of one of them: what can't be read is listed as broken, what vanishes
   * meanwhile is left out, and what can't be a VM's folder is not looked at.
   * @throws {VmError} IO when the folder of all VMs can't be read
   */
  async list(): Promise<ListedVm[]> {
    const found = await Promise.all(
      (await this.#entries()).filter(isValidName).map(async (name): Promise<ListedVm | undefined> => {
        const folder = this.folder(name);
        try {
          return { name, folder, record: await this.read(name) };
        } catch (error) {
          const broken = VmError.from(error, 'STATE_INVALID', { name });
          return broken.code === 'NOT_FOUND' ? undefined : { name, folder, broken };
        }
      }),
    );
    return found.filter((vm) => vm !== undefined).toSorted((a, b) => (a.name < b.name ? -1 : 1));
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
      await rename(folder, gone);
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
      return await readdir(this.places.vms);
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
    const missing = error.code === 'ENOENT' && !(await this.#entries()).includes(name);
    return missing
      ? new VmError('NOT_FOUND', `there is no VM named ${name}`, { name })
      : new VmError('STATE_INVALID', `can't read ${file}: ${error.message}`, {
          name,
          path: file,
          errno: error.code,
          cause: error,
        });
  }
}

function format(record: VmRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** A record names the folder; only one that can be a VMM's is removed. */
async function removeRuntime(record: VmRecord): Promise<void> {
  if (path.basename(record.runtimeFolder) !== record.id) return;
  await rm(record.runtimeFolder, { recursive: true, force: true });
}
