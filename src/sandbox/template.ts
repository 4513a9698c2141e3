import { VmError } from '../errors.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { checkFiles, type TemplateManifest } from '../factory/template-manifest.ts';
import { type ListedTemplate, TemplateStore } from '../factory/template-store.ts';
import type { VmOptions } from './vm-options.ts';

/** What a clone may be asked: how it is held, and a configuration that agrees with the template's. */
export type CloneOptions = Omit<VmOptions, 'template' | 'start'>;

/** What is known of a template. */
export interface TemplateInfo {
  name: string;
  /** 12 hexadecimal digits, unique on the host */
  id: string;
  /** ISO 8601, UTC */
  createdAt: string;
  /** of the polyvisor that made it */
  version: string;
  hypervisor: string;
  /** of the VMM, as it says it; absent for one that says none */
  vmmVersion?: string | undefined;
  accel: 'kvm' | 'tcg';
  /** complete */
  config: HypervisorConfig;
  /** name of the guest image */
  image?: string | undefined;
  /** where its memory is */
  memory: 'tmpfs' | 'disk';
  /** whether clones share its memory, copy-on-write */
  shared: boolean;
  /** its memory and devices */
  folder: string;
}

/** A template in a list; one that can't be cloned says why. */
export interface TemplateSummary {
  name: string;
  state: 'ready' | 'broken';
  /** absent of one that can't be read */
  info?: TemplateInfo | undefined;
  /** why it can't be cloned */
  problem?: VmError | undefined;
}

/** A guest that was saved when its agent answered, from which VMs are cloned. */
export class Template<V> {
  readonly info: TemplateInfo;
  readonly #create: (options: VmOptions) => Promise<V>;

  /** @param create as `Vm.create` does */
  constructor(info: TemplateInfo, create: (options: VmOptions) => Promise<V>) {
    this.info = info;
    this.#create = create;
  }

  get name(): string {
    return this.info.name;
  }

  /**
   * Makes a VM that goes on where the template was saved, with entropy, the time, a hostname and a machine id of its own. Of the
   * configuration only vCPUs and memory may be other than the template's, and only more: they are plugged into the clone.
   * @throws {VmError} INVALID_CONFIG naming each difference, NOT_FOUND, FILE_NOT_FOUND, FILE_INVALID when the template is not whole, and
   *   what `Vm.create` throws
   */
  clone(options: CloneOptions = {}): Promise<V> {
    return this.#create({ ...options, template: this.name });
  }

  /** Removes it; its clones go on. @throws {VmError} NOT_FOUND, IO */
  async remove(): Promise<void> {
    await removeTemplate(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove().catch((error: unknown) => {
      if (VmError.from(error).code !== 'NOT_FOUND') throw error;
    });
  }
}

/** @throws {VmError} NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, INVALID_NAME, PERMISSION */
export async function inspectTemplate(name: string): Promise<TemplateInfo> {
  const store = new TemplateStore();
  return infoOf(store, await store.read(name));
}

/** All templates of this user, by name. Never fails because of one of them. @throws {VmError} IO */
export async function listTemplates(): Promise<TemplateSummary[]> {
  const store = new TemplateStore();
  return Promise.all((await store.list()).map((listed) => summaryOf(store, listed)));
}

/** Removes a template; clones that run go on. @throws {VmError} NOT_FOUND, INVALID_NAME, IO */
export async function removeTemplate(name: string): Promise<void> {
  await new TemplateStore().remove(name);
}

/** What is told of a template. @throws {VmError} FILE_INVALID for a manifest that leads elsewhere */
export function infoOf(store: TemplateStore, manifest: TemplateManifest): TemplateInfo {
  const { name, id, createdAt, version, hypervisor, vmmVersion, accel, image, memory, shared, config } = manifest;
  const folder = store.dataFolder(name, manifest);
  return { name, id, createdAt, version, hypervisor, vmmVersion, accel, image, memory, shared, config, folder };
}

async function summaryOf(store: TemplateStore, { name, manifest, broken }: ListedTemplate): Promise<TemplateSummary> {
  if (manifest === undefined) return { name, state: 'broken', problem: broken };
  try {
    const info = infoOf(store, manifest);
    try {
      await checkFiles(manifest, info.folder);
      return { name, state: 'ready', info };
    } catch (error) {
      return { name, state: 'broken', info, problem: VmError.from(error) };
    }
  } catch (error) {
    return { name, state: 'broken', problem: VmError.from(error) };
  }
}
