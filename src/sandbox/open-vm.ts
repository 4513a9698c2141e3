import { assetPath } from '../config/assets.ts';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { linkAgent } from './agent-link.ts';
import { bringDown, bringUp, setUp, tearDown } from './bring-up.ts';
import { copiedFolders } from './copied-folders.ts';
import type { Phase } from './events.ts';
import { HeldVm } from './held-vm.ts';
import { adoptVm, detachVm } from './ownership.ts';
import type { RestoreOptions } from './snapshot.ts';
import { isDetached, statusOf } from './status.ts';
import type { OpenedVm } from './opened-vm.ts';
import { type Logger, Telemetry } from './telemetry.ts';
import { madeUpName } from './vm-name.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';

/** How a VM that there is already is taken up. */
export interface VmConnectOptions extends CallOptions {
  /** take it into this process's ownership as well, as `adopt` does; default false */
  own?: boolean | undefined;
  /** hears what is done with this VM; `console` is one */
  logger?: Logger | undefined;
}

/** Milliseconds that a connection may take by default: a channel to become free and the guest to answer. */
const connectMs = 30_000;

/** Makes a VM and, unless it is to wait for its start, boots it. Nothing is left behind when that fails. See `Vm.create`. */
export async function createVm(options: VmOptions): Promise<OpenedVm> {
  const split = splitOptions(options);
  if (split.template !== undefined) {
    const { cloneVm } = await import('./clone.ts');
    return cloneVm(split.template, split);
  }
  const began = performance.now();
  const report = (phase: Phase, message: string): void =>
    split.onEvent({ type: 'phase', phase, message, elapsedMs: Math.round(performance.now() - began) });
  const scope = callScope('create of the VM', split.call);
  const call = { signal: scope.signal };
  try {
    const { start, detached, networkNamespace, cpuLimit, startTimeoutMs, name = madeUpName() } = split;
    const telemetry = await Telemetry.open(split.logger);
    return await telemetry.span('create', { vm: name, hypervisor: split.hypervisor }, async () => {
      // The schema and the builder are heavy, and a process that only connects needs neither.
      const { prepare } = await import('./prepare.ts');
      const prepared = await prepare({ ...split, call }, report);
      scope.throwIfEnded();
      const hasRoot = assetPath(prepared.config, 'image') !== undefined;
      const tell = (message: string): void => split.onEvent({ type: 'notice', message });
      const given = await copiedFolders(split.devices, prepared.module, hasRoot, tell);
      const toBe = { ...prepared, ...given, name, networkNamespace, cpuLimit, startTimeoutMs };
      const { held, link } = start
        ? await bringUp(toBe, report, call)
        : { held: await setUp(toBe, report), link: undefined };
      try {
        if (!start) await held.change({ status: 'created' });
        if (detached) await detachVm(held);
        report('ready', `${name} is ${start ? 'ready' : 'created'}`);
        return { held, link, owned: !detached, detached, telemetry };
      } catch (error) {
        await link?.close();
        await tearDown(held);
        throw error;
      }
    });
  } finally {
    scope.release();
  }
}

/** Makes a VM that goes on where a snapshot was made. See `Vm.restore`. */
export async function restoreVm(folder: string, options: RestoreOptions): Promise<OpenedVm> {
  const { detached = false } = options;
  const scope = callScope('restore of the VM', options);
  try {
    const name = options.name === undefined ? undefined : validateName(options.name);
    const { vmOfSnapshot } = await import('./snapshot.ts');
    const toBe = await vmOfSnapshot(folder, { ...options, name });
    const telemetry = await Telemetry.open(undefined);
    return await telemetry.span('restore', { vm: toBe.name, hypervisor: toBe.module.type }, async () => {
      const { held, link } = await bringUp(toBe, () => undefined, { signal: scope.signal });
      try {
        if (detached) await detachVm(held);
        return { held, link, owned: !detached, detached, telemetry };
      } catch (error) {
        await bringDown({ held, link });
        throw error;
      }
    });
  } finally {
    scope.release();
  }
}

/** Takes up a VM in whatever state it is, without a connection to its guest. See `Vm.open`. */
export async function openVm(name: string, options: VmConnectOptions): Promise<OpenedVm> {
  const store = new VmStore();
  return opened(store, await store.read(validateName(name)), options);
}

/** Takes up a VM that runs, with a connection to its guest. See `Vm.connect`. */
export async function connectVm(name: string, options: VmConnectOptions): Promise<OpenedVm> {
  const store = new VmStore();
  const record = await store.read(validateName(name));
  const status = statusOf(record);
  if (status !== 'running') {
    const advice = status === 'paused' ? `Let it go on first: \`polyvisor resume ${name}\`.` : undefined;
    const facts = { name, hypervisor: record.hypervisor, advice };
    throw new VmError(status === 'paused' ? 'INVALID_STATE' : 'NOT_RUNNING', `${name} is ${status}`, facts);
  }
  const vm = await opened(store, record, options);
  const { context, hypervisor } = vm.held;
  const limit = { signal: options.signal, timeoutMs: options.timeoutMs ?? connectMs };
  const link = await linkAgent(context.stateFolder, hypervisor.channels(), limit);
  try {
    if (options.own !== true) return { ...vm, link };
    await adoptVm(vm.held);
    return { ...vm, link, owned: true, detached: false };
  } catch (error) {
    await link.close();
    throw error;
  }
}

async function opened(store: VmStore, record: VmRecord, { logger }: VmConnectOptions): Promise<OpenedVm> {
  const held = await HeldVm.fromRecord(store, record);
  return { held, owned: false, detached: isDetached(record), telemetry: await Telemetry.open(logger) };
}
