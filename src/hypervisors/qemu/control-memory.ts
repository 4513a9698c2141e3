import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { MemoryDevice } from '../device.ts';
import type { VmContext } from '../hypervisor.ts';
import { memoryChange, type MemoryModule, roundUp } from '../memory-modules.ts';
import { refuseAfterTcgUnplug } from './control-cpus.ts';
import { plugged, unplug } from './control-plug.ts';
import { backendId, moduleId } from './plan-ids.ts';
import { backend, virtioMemId } from './plan-memory.ts';
import type { MemoryDeviceInfo, VirtioMemInfo } from './wire.ts';

const mib = 2 ** 20;
/** Milliseconds without a change after which a guest gives back no more: QEMU tells of changes once a second at most. */
const quietMs = 5_000;

/** What a resize of the memory came to; the figures were asked of QEMU. */
export interface MemoryResize {
  beforeMiB: number;
  memoryMiB: number;
  device?: MemoryDevice;
}

type MemoryFacts = Pick<VmContext, 'config' | 'accel' | 'runtimeFolder' | 'hostMemoryMiB'>;

/**
 * Gets a VM to at least this much memory, by a module or by its virtio-mem device.
 * @throws {VmError} INVALID_ARGUMENT beyond its limits, GUEST_REFUSED or TIMEOUT when the guest keeps what it has, UNSUPPORTED, VMM_FAILED
 */
export async function resizeMemory(
  qmp: QmpClient,
  memoryMiB: number,
  blockMiB: number,
  facts: MemoryFacts,
  call: CallOptions,
): Promise<MemoryResize> {
  const { config, hostMemoryMiB } = facts;
  const [devices, beforeMiB] = await Promise.all([memoryDevices(qmp, call), memoryTotal(qmp, call)]);
  const virtioMem = devices.find((device) => device.type === 'virtio-mem');
  const modules = modulesAmong(devices);
  const limits = { bootMiB: config.memoryMiB, slots: config.memorySlots, maxMiB: hostMemoryMiB, blockMiB };
  if (virtioMem !== undefined) {
    // Checked by the same rules, as if all of it were one module that can have any size.
    memoryChange([], memoryMiB, limits);
    await resizeVirtioMem(qmp, virtioMem.data, memoryMiB - config.memoryMiB, call);
    return { beforeMiB, memoryMiB: await memoryTotal(qmp, call) };
  }
  const { add, remove } = memoryChange(modules, memoryMiB, limits);
  if (add !== undefined) {
    refuseAfterTcgUnplug(facts, 'resizeMemory');
    // Asked as soon as the module is there, while the guest takes it.
    let total: Promise<number> | undefined;
    await plugModule(qmp, add, config, call, () => {
      total = memoryTotal(qmp, call);
      total.catch(() => undefined);
    });
    return { beforeMiB, memoryMiB: await (total ?? memoryTotal(qmp, call)), device: { kind: 'memory', ...add } };
  }
  for (const module of remove) await unplugModule(qmp, module, call);
  return { beforeMiB, memoryMiB: await memoryTotal(qmp, call) };
}

/** The modules that were plugged, as QEMU knows them. */
export async function memoryModules(qmp: QmpClient, call: CallOptions): Promise<(MemoryModule & { addr: number })[]> {
  return modulesAmong(await memoryDevices(qmp, call));
}

/**
 * Plugs a module and waits until the guest has seen it. What was made for it is taken back when that fails.
 * @param onPlugged is called once QEMU has it
 */
export async function plugModule(
  qmp: QmpClient,
  { slot, sizeMiB }: MemoryModule,
  config: VmContext['config'],
  call: CallOptions,
  onPlugged: () => void = () => undefined,
): Promise<void> {
  const id = moduleId(slot);
  // The module is asked for right behind it: QEMU does one after the other, and refuses a module without its memory.
  const made = qmp.execute('object-add', backend(config, backendId(slot), sizeMiB), call);
  made.catch(() => undefined);
  const plug = async (): Promise<void> => {
    const added = qmp.execute('device_add', { driver: 'pc-dimm', id, memdev: backendId(slot), slot }, call);
    added.catch(() => undefined);
    await made;
    await added;
    onPlugged();
  };
  try {
    await plugged(qmp, id, call, plug);
  } catch (error) {
    // Nothing is left of what QEMU has refused.
    const refused = VmError.from(error).code === 'VMM_FAILED';
    if (refused && (await made.then(Boolean, () => false))) await qmp.execute('object-del', { id: backendId(slot) });
    throw error;
  }
}

/** @throws {VmError} GUEST_REFUSED, TIMEOUT, VMM_FAILED */
export async function unplugModule(qmp: QmpClient, { slot, sizeMiB }: MemoryModule, call: CallOptions): Promise<void> {
  const part = {
    path: `/machine/peripheral/${moduleId(slot)}`,
    what: `the memory module of ${sizeMiB} MiB in slot ${slot}`,
  };
  await unplug(qmp, part, call);
  await qmp.execute('object-del', { id: backendId(slot) }, call);
}

async function memoryDevices(qmp: QmpClient, call: CallOptions): Promise<MemoryDeviceInfo[]> {
  return qmp.execute<MemoryDeviceInfo[]>('query-memory-devices', undefined, call);
}

function modulesAmong(devices: readonly MemoryDeviceInfo[]): (MemoryModule & { addr: number })[] {
  return devices
    .filter((device) => device.type === 'dimm')
    .map(({ data }) => ({ slot: data.slot, sizeMiB: data.size / mib, addr: data.addr }));
}

/** All memory that the guest could use now, in MiB. */
export async function memoryTotal(qmp: QmpClient, call: CallOptions): Promise<number> {
  const sizes = await qmp.execute<{ 'base-memory': number; 'plugged-memory'?: number }>(
    'query-memory-size-summary',
    undefined,
    call,
  );
  return (sizes['base-memory'] + (sizes['plugged-memory'] ?? 0)) / mib;
}

async function resizeVirtioMem(
  qmp: QmpClient,
  device: VirtioMemInfo,
  extraMiB: number,
  call: CallOptions,
): Promise<void> {
  const wanted = roundUp(extraMiB * mib, device['block-size'] ?? 2 * mib);
  if (wanted > device['max-size']) {
    const most = device['max-size'] / mib;
    throw new VmError('INVALID_ARGUMENT', `the virtio-mem device has ${most} MiB at most, not ${extraMiB}`, {
      field: 'memoryMiB',
    });
  }
  if (wanted === device.size) return;
  await request(qmp, wanted, call);
  for (;;) {
    const over = new AbortController();
    const signal = call.signal === undefined ? over.signal : AbortSignal.any([call.signal, over.signal]);
    // Listened for before the question, so that no change falls between the two.
    const changed = qmp.nextEvent(({ event }) => event === 'MEMORY_DEVICE_SIZE_CHANGE', { signal, timeoutMs: quietMs });
    changed.catch(() => undefined);
    try {
      const size = await virtioMemSize(qmp, call);
      if (size === wanted) return;
      await changed.catch((error: unknown) => {
        if (VmError.from(error).code !== 'TIMEOUT' || call.signal?.aborted === true) throw error;
        return stopAt(qmp, size, wanted, call);
      });
    } finally {
      over.abort();
    }
  }
}

/** Settles the device where it is, so that nothing changes behind the caller's back. @throws {VmError} GUEST_REFUSED */
async function stopAt(qmp: QmpClient, size: number, wanted: number, call: CallOptions): Promise<never> {
  await request(qmp, size, call);
  const [left, verb] = wanted < size ? [size - wanted, 'keeps'] : [wanted - size, 'does not take'];
  throw new VmError('GUEST_REFUSED', `the guest ${verb} ${left / mib} MiB of its virtio-mem device`, {
    operation: 'resizeMemory',
  });
}

async function request(qmp: QmpClient, bytes: number, call: CallOptions): Promise<void> {
  await qmp.execute('qom-set', { path: virtioMemPath, property: 'requested-size', value: bytes }, call);
}

async function virtioMemSize(qmp: QmpClient, call: CallOptions): Promise<number> {
  return qmp.execute<number>('qom-get', { path: virtioMemPath, property: 'size' }, call);
}

const virtioMemPath = `/machine/peripheral/${virtioMemId}`;
