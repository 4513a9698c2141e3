import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import { CacheFactory } from '../factory/cache.ts';
import { CacheClient } from '../factory/cache-client.ts';
import { requireEndpoint } from '../factory/cache-server.ts';
import type { FactoryKind, FactoryVmStatus } from '../factory/factory.ts';
import { type KeptVm, keeping, maxCache, pausingFactory, wakeKept } from './kept-vm.ts';
import { createVm } from './open-vm.ts';
import type { OpenedVm } from './opened-vm.ts';
import { detachVm } from './ownership.ts';
import { resizeVm, type VmResizeOptions } from './resize.ts';
import { inspectTemplate } from './template.ts';
import { madeUpName } from './vm-name.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';

/** What the VMs of a factory are, and how many are kept ready. */
export interface FactoryOptions extends Omit<VmOptions, 'name' | 'detached' | 'start' | 'signal' | 'timeoutMs'> {
  /** name of the template that they are cloned from; they are booted otherwise */
  template?: string | undefined;
  /** socket of a cache server (`polyvisor factory init --cache`), from which they are taken: what they are is said there */
  endpoint?: string | undefined;
  /** how many stand ready, paused: each takes memory, and is made anew when it is taken; default 0 */
  cache?: number | undefined;
}

/** What one VM of a factory is to be. */
export interface FactoryVmOptions extends CallOptions {
  /** unique name; one is made up when absent */
  name?: string | undefined;
  /** it outlives this process; default false */
  detached?: boolean | undefined;
  /** plugged or unplugged once it runs */
  vcpus?: number | undefined;
  memoryMiB?: number | undefined;
}

/** Makes VMs: each booted (`direct`), cloned (`template`), or taken from those that stand ready (`cache`). */
export interface VmFactory<V> extends AsyncDisposable {
  readonly kind: FactoryKind;
  /**
   * A VM whose guest answers, this process's own unless it is detached. One of a cache waits until there is one.
   * @throws {VmError} INVALID_STATE after `close`, NAME_IN_USE, INVALID_NAME, INVALID_ARGUMENT, and what `Vm.create` throws
   */
  getVm(options?: FactoryVmOptions): Promise<V>;
  /** The VMs that stand ready. */
  status(call?: CallOptions): Promise<FactoryVmStatus[]>;
  /** Settles when as many VMs stand ready as shall; at once without a cache. @throws {VmError} why one could not be made; TIMEOUT, ABORTED */
  filled(call?: CallOptions): Promise<void>;
  /** Removes the VMs that stand ready; those that were given out live on. May be repeated. */
  close(): Promise<void>;
}

class OpenFactory<V> implements VmFactory<V> {
  readonly #options: FactoryOptions;
  readonly #cache: CacheFactory<KeptVm> | undefined;
  readonly #wrap: (opened: OpenedVm) => V;
  #closed = false;

  /** @param cache of VMs with these options @param wrap makes a handle of a VM */
  constructor(options: FactoryOptions, cache: CacheFactory<KeptVm> | undefined, wrap: (opened: OpenedVm) => V) {
    this.#options = options;
    this.#cache = cache;
    this.#wrap = wrap;
  }

  get kind(): FactoryKind {
    if (this.#options.endpoint !== undefined) return 'grpc-cache';
    return this.#cache === undefined ? kindOf(this.#options) : 'cache';
  }

  async getVm(options: FactoryVmOptions = {}): Promise<V> {
    const { name = madeUpName(), detached = false, vcpus, memoryMiB, ...limits } = options;
    validateName(name);
    const scope = callScope(`getting ${name} from the factory`, limits);
    const call = { signal: scope.signal };
    try {
      if (this.#closed) throw new VmError('INVALID_STATE', 'the factory is closed', { operation: 'getVm' });
      const opened = await this.#get(name, call);
      try {
        const size: VmResizeOptions = {
          ...(vcpus === undefined ? {} : { vcpus }),
          ...(memoryMiB === undefined ? {} : { memoryMiB }),
        };
        if (opened.link !== undefined && Object.keys(size).length > 0)
          await resizeVm(opened.held, opened.link.agent, { ...size, ...call });
        if (detached) await detachVm(opened.held);
        return this.#wrap({ ...opened, owned: !detached, detached });
      } catch (error) {
        await opened.link?.close();
        await keeping.remove({ ...opened, link: opened.link ?? noLink });
        throw error;
      }
    } finally {
      scope.release();
    }
  }

  async status(call: CallOptions = {}): Promise<FactoryVmStatus[]> {
    const { endpoint } = this.#options;
    if (endpoint === undefined) return this.#cache?.vmStatus() ?? [];
    const { vmstatus } = await new CacheClient(endpoint).status(call);
    return vmstatus.map(({ pid, cpu, memory }) => ({ pid, vcpus: cpu, memoryMiB: memory }));
  }

  async filled(call: CallOptions = {}): Promise<void> {
    await this.#cache?.filled(call);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#cache?.closeFactory();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #get(name: string, call: CallOptions): Promise<OpenedVm> {
    const { endpoint } = this.#options;
    if (endpoint !== undefined) {
      const { takeFromServer } = await import('./serve-cache.ts');
      return takeFromServer(endpoint, name, call);
    }
    if (this.#cache === undefined) return createVm({ ...vmOptions(this.#options), ...call, name });
    // As many as stand ready may have ended in the moment before; when more have, there is another reason.
    for (let left = this.#options.cache ?? 0; ; left--) {
      const kept = await this.#cache.getBaseVm(call);
      try {
        await wakeKept(kept, { name, clone: this.#options.template !== undefined }, call);
        return kept;
      } catch (error) {
        const ended = !keeping.isAlive(kept);
        await keeping.remove(kept);
        if (!ended || left === 0) throw error;
      }
    }
  }
}

/** See `Vm.factory`. */
export async function openFactory<V>(options: FactoryOptions, wrap: (opened: OpenedVm) => V): Promise<VmFactory<V>> {
  const { cache = 0 } = options;
  if (!Number.isInteger(cache) || cache < 0 || cache > maxCache)
    throw new VmError('INVALID_ARGUMENT', `cache must be a whole number up to ${maxCache}, not ${String(cache)}`, {
      field: 'cache',
    });
  const { endpoint, logger: _logger, ...others } = options;
  if (endpoint !== undefined) {
    requireEndpoint(endpoint);
    const given = Object.entries(others).filter(([, value]) => value !== undefined);
    if (given.length > 0)
      throw new VmError(
        'INVALID_ARGUMENT',
        `${given.map(([name]) => name).join(', ')}: a cache server's VMs are what it was told`,
        {
          field: given[0]?.[0],
        },
      );
    return new OpenFactory(options, undefined, wrap);
  }
  const { template } = splitOptions(vmOptions(options));
  if (template !== undefined) await inspectTemplate(template);
  if (cache === 0) return new OpenFactory(options, undefined, wrap);
  const base = pausingFactory({
    kind: kindOf(options),
    open: (call) => createVm({ ...vmOptions(options), ...call, name: `cached-${madeUpName()}` }),
  });
  return new OpenFactory(options, new CacheFactory(base, cache, keeping), wrap);
}

function kindOf({ template }: Pick<FactoryOptions, 'template'>): 'direct' | 'template' {
  return template === undefined ? 'direct' : 'template';
}

function vmOptions({ cache: _cache, endpoint: _endpoint, ...options }: FactoryOptions): VmOptions {
  return options;
}

/** Of a VM that has no session. */
const noLink = { close: async (): Promise<void> => undefined } as KeptVm['link'];
