import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { CacheFactory } from '../factory/cache.ts';
import { CacheClient } from '../factory/cache-client.ts';
import { type CacheServer, requireEndpoint, serveCache } from '../factory/cache-server.ts';
import type { GrpcVm } from '../factory/cache-service.ts';
import type { KeptMachine } from '../factory/kept-machine.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { ensurePrivateFolder } from '../state/private-folder.ts';
import { cacheEndpoint, places } from '../state/paths.ts';
import { followEvents } from './follow-events.ts';
import { givenConfig } from './given-config.ts';
import { tearDown } from './bring-up.ts';
import { HeldVm } from './held-vm.ts';
import { type KeptVm, keeping, maxCache, pausingFactory, wakeTaken } from './kept-vm.ts';
import { createVm } from './open-vm.ts';
import type { OpenedVm } from './opened-vm.ts';
import { adoptVm, leaveVm } from './ownership.ts';
import { Telemetry } from './telemetry.ts';
import { inspectTemplate } from './template.ts';
import { madeUpName } from './vm-name.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';
import { VmStore } from '../state/store.ts';

/** What a cache server keeps. */
export interface CacheServerOptions extends Omit<VmOptions, 'name' | 'detached' | 'start' | 'signal' | 'timeoutMs'> {
  /** how many VMs stand ready */
  cache: number;
  /** path of its socket; default `cache.sock` in the runtime folder */
  endpoint?: string | undefined;
  /** milliseconds that a client has to take up a VM that it was given, before it counts as dead and the VM is removed; default 10,000 */
  takeUpMs?: number | undefined;
}

/** A cache that other processes of this user take VMs from. */
export interface ServedCache extends AsyncDisposable {
  readonly endpoint: string;
  /** Settles when as many VMs stand ready as shall. @throws {VmError} why one could not be made; TIMEOUT, ABORTED */
  filled(call?: CallOptions): Promise<void>;
  /** Settles when a client has asked the server to end, or `close` was called. */
  readonly asked: Promise<void>;
  /**
   * Ends it: VMs that stand ready are removed, those that were taken live on. May be repeated.
   * @throws {VmError} why a VM could not be handed over, or not be removed
   */
  close(): Promise<void>;
}

/** Where a cache server is, unless it is said. */
export function defaultEndpoint(): string {
  return cacheEndpoint(places());
}

/**
 * Keeps VMs ready in this process, for others to take over gRPC.
 * @throws {VmError} BUSY when a server listens there, INVALID_ARGUMENT, NOT_FOUND when there is no such template, FILE_INVALID, IO
 */
export async function openCacheServer(options: CacheServerOptions): Promise<ServedCache> {
  const { cache, endpoint = defaultEndpoint(), takeUpMs = 10_000, ...given } = options;
  if (!Number.isInteger(cache) || cache < 1 || cache > maxCache)
    throw new VmError('INVALID_ARGUMENT', `cache must be a whole number from 1 to ${maxCache}`, { field: 'cache' });
  requireEndpoint(endpoint);
  const { template } = splitOptions(given);
  const info = template === undefined ? undefined : await inspectTemplate(template);
  if (endpoint === defaultEndpoint()) for (const place of places().privateFolders) await ensurePrivateFolder(place);
  const { type } = await loadDriver(splitOptions(given).hypervisor);
  const kept: KeptMachine =
    info === undefined
      ? { ...(await givenConfig(splitOptions(given).config, places())).input, hypervisor: type }
      : { ...info.config, hypervisor: info.hypervisor, template: info.name };
  let end: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => (end = resolve));
  const handing = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let cached: CacheFactory<KeptVm> | undefined;
  const pool = (): CacheFactory<KeptVm> => {
    if (cached === undefined) throw new VmError('BUSY', 'the cache server is just starting');
    return cached;
  };
  // The socket first: of two servers that start at once, one is told before it has booted anything.
  const server: CacheServer = await serveCache(endpoint, {
    config: async () => ({ Data: bytes(kept), AgentConfig: new Uint8Array() }),
    status: async () => ({
      pid: process.pid,
      vmstatus: pool()
        .vmStatus()
        .map(({ pid, vcpus, memoryMiB }) => ({ pid, cpu: vcpus, memory: memoryMiB })),
    }),
    getBaseVm: async (signal) => {
      const kept = await pool().getBaseVm({ signal });
      try {
        const vm = await described(kept);
        const handed = handOver(kept, takeUpMs)
          .catch((error: unknown) => void failures.push(error))
          .finally(() => handing.delete(handed));
        handing.add(handed);
        return vm;
      } catch (error) {
        await keeping.remove(kept);
        throw error;
      }
    },
    quit: () => end(),
  });
  const base = pausingFactory({
    kind: template === undefined ? 'direct' : 'template',
    open: (call) => createVm({ ...given, ...call, name: `cached-${madeUpName()}` }),
  });
  cached = new CacheFactory(base, cache, keeping);
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    end();
    await server.close();
    await pool().closeFactory();
    await Promise.all(handing);
    if (failures.length > 0) throw failures[0];
  };
  const closeOnce = (): Promise<void> => (closing ??= close());
  return {
    endpoint,
    filled: (call) => pool().filled(call),
    asked,
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  };
}

/** Takes a VM from a cache server into this process, and lets it go on under a name of its own. @throws {VmError} what the server fails with; NOT_FOUND, VMM_GONE */
export async function takeFromServer(endpoint: string, name: string, call: CallOptions): Promise<OpenedVm> {
  const { id } = await new CacheClient(endpoint).getBaseVm(call);
  const store = new VmStore();
  const listed = (await store.list()).find(({ record }) => record?.id === id);
  if (listed?.record === undefined)
    throw new VmError('NOT_FOUND', `the cache server gave the VM ${id}, which is not there any more`, {
      advice: 'It must have the same POLYVISOR_HOME, or XDG folders, as this process.',
    });
  const held = await HeldVm.fromRecord(store, listed.record);
  // From here on it ends with this process, whatever the server does.
  await adoptVm(held);
  try {
    const link = await wakeTaken(held, name, call);
    return { held, link, owned: true, detached: false, telemetry: await Telemetry.open(undefined) };
  } catch (error) {
    await tearDown(held);
    throw error;
  }
}

/** A VM as its driver hands it over, without a session: its agent serves whoever comes next. */
async function described({ held, link }: KeptVm): Promise<GrpcVm> {
  await link.close();
  const { vcpus, memoryMiB } = held.context.config;
  const hypervisor = await held.hypervisor.toGrpc();
  return { id: held.id, hypervisor, proxyPid: 0, proxyURL: '', cpu: vcpus, memory: memoryMiB, cpuDelta: 0 };
}

/** Lets go of a VM when the client has taken it up, and removes it when that does not happen: at no moment does nobody own it. */
async function handOver(kept: KeptVm, takeUpMs: number): Promise<void> {
  const { held } = kept;
  const signal = AbortSignal.timeout(takeUpMs);
  for await (const event of followEvents({ signal, since: new Date(), types: ['adopted'] }, { id: held.id })) {
    if (event.event !== 'adopted' || event.pid === process.pid) continue;
    try {
      return await leaveVm(held);
    } catch (error) {
      // The client has ended since: it is nobody's but ours, and is removed.
      if (VmError.from(error).code !== 'INVALID_STATE') throw error;
      break;
    }
  }
  await keeping.remove(kept);
}

function bytes(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
