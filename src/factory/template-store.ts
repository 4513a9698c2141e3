import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isValidName, validateName } from '../config/names.ts';
import { suggest } from '../config/suggest.ts';
import { VmError } from '../errors.ts';
import { type Places, places, stagingName, stagingOf } from '../state/paths.ts';
import { ensurePrivateFolder } from '../state/private-folder.ts';
import { isAlive, ownIdentity } from '../state/process-identity.ts';
import { isInTmpfs, makeMemoryFolder, type MemoryFolder, type MemoryPlace, removeFromTmpfs } from './memory-folder.ts';
import { readTemplate, type TemplateManifest, writeTemplate } from './template-manifest.ts';

/** Name of the data folder of a template whose memory is on a disk. */
const onDisk = 'data';

/** A template that is being made. */
export interface DraftTemplate {
  id: string;
  data: MemoryFolder;
  /** Gives it its name. @throws {VmError} NAME_IN_USE, IO */
  publish(
    manifest: Omit<TemplateManifest, 'schema' | 'name' | 'id' | 'memory' | 'dataFolder'>,
  ): Promise<TemplateManifest>;
  /** Removes it, unless it was published. */
  discard(): Promise<void>;
}

/** A template as `list` finds it: whole, or with the reason why it can't be read. */
export type ListedTemplate =
  | { name: string; folder: string; manifest: TemplateManifest; broken?: undefined }
  | { name: string; folder: string; manifest?: undefined; broken: VmError };

/** The templates of this user. Files are the truth, as with VMs. */
export class TemplateStore {
  readonly places: Places;

  constructor(at: Places = places()) {
    this.places = at;
  }

  /** @throws {VmError} INVALID_NAME */
  folder(name: string): string {
    return path.join(this.places.templates, validateName(name));
  }

  /** Where its memory and devices are. @throws {VmError} FILE_INVALID for a manifest that leads elsewhere */
  dataFolder(name: string, { id, memory, dataFolder }: TemplateManifest): string {
    if (memory === 'disk') return path.join(this.folder(name), onDisk);
    if (isInTmpfs(dataFolder, id)) return dataFolder;
    throw new VmError('FILE_INVALID', `the memory of the template ${name} is at ${dataFolder}, where none of ours is`, {
      path: dataFolder,
      advice: 'Make the template again: XDG_RUNTIME_DIR may have been another one then.',
    });
  }

  /** @throws {VmError} NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, INVALID_NAME, PERMISSION */
  async read(name: string): Promise<TemplateManifest> {
    const folder = this.folder(name);
    if (!(await this.#entries()).includes(name)) throw await this.#notFound(name);
    return readTemplate(folder, this.places);
  }

  /** All templates, by name. Never fails because of one of them. @throws {VmError} IO */
  async list(): Promise<ListedTemplate[]> {
    const names = (await this.#entries()).filter(isValidName).toSorted();
    const found = await Promise.all(
      names.map(async (name): Promise<ListedTemplate[]> => {
        const folder = this.folder(name);
        try {
          return [{ name, folder, manifest: await readTemplate(folder, this.places) }];
        } catch (error) {
          // One that was removed meanwhile is none.
          if (!(await this.#entries()).includes(name)) return [];
          return [{ name, folder, broken: VmError.from(error) }];
        }
      }),
    );
    return found.flat();
  }

  /**
   * Begins a template: makes the folder for its memory and devices. What a killed process had begun is cleared first.
   * @throws {VmError} NAME_IN_USE, INVALID_NAME, PERMISSION, IO (ENOSPC when there is no room)
   */
  async begin(name: string, { memory, memoryMiB }: { memory: MemoryPlace; memoryMiB: number }): Promise<DraftTemplate> {
    const folder = this.folder(name);
    await ensurePrivateFolder(this.places.state);
    await ensurePrivateFolder(this.places.templates);
    await this.sweep();
    if ((await this.#entries()).includes(name)) throw nameInUse(name);
    const id = randomBytes(6).toString('hex');
    const staging = path.join(this.places.templates, stagingName('new', ownIdentity(), id));
    const discard = async (): Promise<void> => {
      await removeFromTmpfs(id);
      await rm(staging, { recursive: true, force: true });
    };
    try {
      await mkdir(staging, { mode: 0o700 });
      await writeFile(path.join(staging, idName(id)), '', { flag: 'wx', mode: 0o600 });
      const data = await makeMemoryFolder(id, { wanted: memory, memoryMiB, onDisk: path.join(staging, onDisk) });
      let published = false;
      return {
        id,
        data,
        publish: async (rest) => {
          const dataFolder = data.kind === 'disk' ? onDisk : data.path;
          const manifest: TemplateManifest = { schema: 1, name, id, memory: data.kind, dataFolder, ...rest };
          await writeTemplate(staging, manifest, this.places);
          await rename(staging, folder).catch((error: NodeJS.ErrnoException) => {
            if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST') throw nameInUse(name);
            throw VmError.from(error, 'IO', { path: folder });
          });
          published = true;
          return manifest;
        },
        discard: async () => {
          if (!published) await discard();
        },
      };
    } catch (error) {
      await discard();
      throw VmError.from(error, 'IO', { path: staging });
    }
  }

  /**
   * Removes a template. Clones that run have its memory open and go on; its room is free when the last of them has ended.
   * @throws {VmError} NOT_FOUND, INVALID_NAME, IO
   */
  async remove(name: string): Promise<void> {
    const folder = this.folder(name);
    const id = await idIn(folder);
    const gone = path.join(this.places.templates, stagingName('gone', ownIdentity(), id));
    try {
      await rename(folder, gone);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw await this.#notFound(name);
      throw VmError.from(error, 'IO', { path: folder });
    }
    await removeFromTmpfs(id);
    await rm(gone, { recursive: true, force: true });
  }

  /** Clears what processes left that were killed while they made or removed a template. */
  async sweep(): Promise<void> {
    for (const entry of await this.#entries()) {
      const staging = stagingOf(entry);
      if (staging === undefined || isAlive(staging.by)) continue;
      await removeFromTmpfs(staging.id);
      await rm(path.join(this.places.templates, entry), { recursive: true, force: true });
    }
  }

  async #notFound(name: string): Promise<VmError> {
    const near = suggest(name, (await this.#entries()).filter(isValidName));
    const advice = near === undefined ? '`polyvisor factory status` lists the templates.' : `Did you mean ${near}?`;
    return new VmError('NOT_FOUND', `there is no template named ${name}`, { name, advice });
  }

  async #entries(): Promise<string[]> {
    try {
      return readdirSync(this.places.templates);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw VmError.from(error, 'IO', { path: this.places.templates });
    }
  }
}

/** The id beside the manifest: so that what is in tmpfs can be removed although the manifest can't be read. */
function idName(id: string): string {
  return `id-${id}`;
}

async function idIn(folder: string): Promise<string> {
  const names = await readdir(folder).catch(() => []);
  const found = names.map((name) => /^id-([0-9a-f]{12})$/.exec(name)?.[1]).find((id) => id !== undefined);
  return found ?? randomBytes(6).toString('hex');
}

function nameInUse(name: string): VmError {
  return new VmError('NAME_IN_USE', `there is a template named ${name} already`, {
    name,
    advice: 'Choose another name, or remove that template.',
  });
}
