import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { ConsoleLocation } from '../hypervisors/hypervisor.ts';
import { vmFiles } from '../state/paths.ts';
import { isAlive, signalProcess } from '../state/process-identity.ts';
import type { VmEnding, VmRecord, VmStatus } from '../state/record.ts';
import { type ListedVm, VmStore } from '../state/store.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { recall } from './context.ts';
import { statusOf } from './status.ts';

/** Milliseconds that the kernel gets to end a VMM after SIGKILL. */
const killMs = 30_000;

/** A line of `polyvisor ls`. */
export interface VmSummary {
  name: string;
  /** 12 hexadecimal digits; empty when the record can't be read */
  id: string;
  hypervisor: string;
  /** `broken`: its record can't be read */
  status: VmStatus | 'broken';
  detached: boolean;
  /** ISO 8601, UTC; empty when the record can't be read */
  createdAt: string;
  /** of the VMM, while it runs */
  pid?: number | undefined;
  vcpus?: number | undefined;
  memoryMiB?: number | undefined;
  accel?: string | undefined;
  image?: string | undefined;
  ended?: VmEnding | undefined;
  /** why the record can't be read */
  problem?: string | undefined;
}

/** Everything that is known of one VM. */
export interface VmInspection extends VmSummary {
  config: HypervisorConfig;
  /** the VMM's own first */
  pids: number[];
  folders: { state: string; runtime: string };
  console: ConsoleLocation;
  networkNamespace?: string | undefined;
}

/** All VMs of this user. Never fails because of one of them. */
export async function listVms(): Promise<VmSummary[]> {
  const store = new VmStore();
  return Promise.all((await store.list()).map((vm) => summarize(store, vm)));
}

/** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
export async function inspectVm(name: string): Promise<VmInspection> {
  return describeVm(new VmStore(), name);
}

/** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
export async function describeVm(store: VmStore, name: string): Promise<VmInspection> {
  const record = await store.read(name);
  const summary = await summarize(store, { name, folder: store.folder(name), record });
  const { module, context } = await recall(store, record);
  const driver = module.driver(context);
  if (record.driver !== undefined) await driver.loadState(record.driver);
  return {
    ...summary,
    config: context.config,
    pids: await driver.pids(),
    folders: { state: context.stateFolder, runtime: context.runtimeFolder },
    console: await driver.console(),
    ...(context.networkNamespace === undefined ? {} : { networkNamespace: context.networkNamespace }),
  };
}

/**
 * The file of a VM's log.
 * @param source `console`: what the guest printed; `vmm`: what the VMM printed
 * @throws {VmError} NOT_FOUND, STATE_INVALID, UNSUPPORTED when the console is no file
 */
export async function logPath(name: string, source: 'console' | 'vmm'): Promise<string> {
  const store = new VmStore();
  if (source === 'vmm') {
    await store.read(name);
    return vmFiles.vmmLog(store.folder(name));
  }
  const { console } = await describeVm(store, name);
  if (console.protocol === 'file') return console.path;
  throw new VmError('UNSUPPORTED', `the console of ${name} is no file but a ${console.protocol}`, { name });
}

/**
 * Removes a VM.
 * @throws {VmError} NOT_FOUND, INVALID_NAME, INVALID_STATE when it runs and `force` is not given, BUSY while it is being made
 */
export async function removeVm(name: string, options: { force?: boolean } = {}): Promise<void> {
  const store = new VmStore();
  const entry = (await store.list()).find((vm) => vm.name === name);
  if (entry?.record === undefined) {
    // Reading tells a missing VM from a broken one; a broken one can only be removed as files.
    if (entry === undefined || options.force !== true) await store.read(name);
    await store.remove(name);
    return;
  }
  const status = statusOf(entry.record);
  if (status === 'creating' || status === 'created') {
    // Its VMM may be starting at this moment, and only its maker knows.
    const advice = `Try again when it runs, or end its maker (process ${entry.record.owner?.pid}).`;
    throw new VmError('BUSY', `${name} is just being made by another process`, { name, advice });
  }
  if ((status === 'running' || status === 'paused') && options.force !== true) {
    throw new VmError('INVALID_STATE', `${name} is ${status}`, {
      name,
      advice: 'Stop it first, or use force (`polyvisor rm -f`).',
    });
  }
  await endVmm(store, entry.record);
  await store.remove(name);
}

/** Ends the VMM of a VM by its driver or, where what a driver needs can't be read, by its process alone. */
async function endVmm(store: VmStore, record: VmRecord): Promise<void> {
  if (record.driver === undefined) return;
  try {
    const { module, context } = await recall(store, record);
    const driver = module.driver(context);
    await driver.loadState(record.driver);
    await driver.kill();
  } catch (error) {
    if (record.vmm === undefined || !isAlive(record.vmm)) return;
    if (!signalProcess(record.vmm, 'SIGKILL')) throw error;
    await waitGone(record.vmm, { timeoutMs: killMs });
  }
}

async function summarize(store: VmStore, vm: ListedVm): Promise<VmSummary> {
  const { name, record } = vm;
  if (record === undefined) {
    return {
      name,
      id: '',
      hypervisor: '',
      status: 'broken',
      detached: false,
      createdAt: '',
      problem: vm.broken?.rawMessage,
    };
  }
  const status = statusOf(record);
  const config = await recall(store, record).then(
    ({ context }) => context.config,
    () => undefined,
  );
  const running = status === 'running' || status === 'paused';
  return {
    name,
    id: record.id,
    hypervisor: record.hypervisor,
    status,
    detached: record.detached,
    createdAt: record.createdAt,
    pid: running ? record.vmm?.pid : undefined,
    vcpus: config?.vcpus,
    memoryMiB: config?.memoryMiB,
    accel: record.accel,
    image: record.image,
    ended: record.ended,
  };
}
