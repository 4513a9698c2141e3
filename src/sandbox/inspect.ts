import type { HypervisorConfig } from '../config/vm-config.ts';
import { readConfinement } from '../confinement/confinement.ts';
import type { ConfinementPlan } from '../confinement/confinement-plan.ts';
import { VmError } from '../errors.ts';
import type { ConsoleLocation } from '../hypervisors/hypervisor.ts';
import { isAlive, isFrozen, signalProcess } from '../state/process-identity.ts';
import type { VmEnding, VmRecord, VmStatus } from '../state/record.ts';
import { vmFiles } from '../state/paths.ts';
import { type ListedVm, VmStore } from '../state/store.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { readAttached } from './attached.ts';
import { recall } from './context.ts';
import type { AttachedDevice } from './device-spec.ts';
import { settle, settleIfPossible } from './ending.ts';
import { endForwarder } from './forwarder.ts';
import { removeFiles } from './remove-files.ts';
import { type PublishedPort, publishedPorts } from './ports.ts';
import { isDetached, statusOf } from './status.ts';

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
  /** its VMM was stopped by a signal (SIGSTOP) and answers nothing until it is continued */
  frozen?: true | undefined;
  /** why the record can't be read */
  problem?: string | undefined;
}

/** Everything that is known of one VM. */
export interface VmInspection extends VmSummary {
  config: HypervisorConfig;
  /** the VMM's own first; with that of the process that forwards ports */
  pids: number[];
  /** ports of this host that lead into the guest */
  ports: PublishedPort[];
  /** those that it was given, at its start or since */
  devices: readonly AttachedDevice[];
  folders: { state: string; runtime: string };
  console: ConsoleLocation;
  networkNamespace?: string | undefined;
  /** how the VMM was confined when it was last started */
  confinement?: ConfinementPlan | undefined;
}

/** All VMs of this user. Never fails because of one of them. */
export async function listVms(): Promise<VmSummary[]> {
  const store = new VmStore();
  const summaries: VmSummary[] = [];
  for (const vm of await store.list()) summaries.push(await summarize(store, vm));
  return summaries;
}

/** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
export async function inspectVm(name: string): Promise<VmInspection> {
  return describeVm(new VmStore(), name);
}

/** @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME */
export async function describeVm(store: VmStore, name: string): Promise<VmInspection> {
  const record = await settle(store, await store.read(name));
  const summary = await summarize(store, { name, folder: store.folder(name), record });
  const { module, context } = await recall(store, record);
  const driver = module.driver(context);
  if (record.driver !== undefined) await driver.loadState(record.driver);
  return {
    ...summary,
    config: context.config,
    pids: [...(await driver.pids()), ...forwarderOf(record)],
    ports: publishedPorts(record),
    devices: await readAttached(context.stateFolder),
    folders: { state: context.stateFolder, runtime: context.runtimeFolder },
    console: await driver.console(),
    confinement: readConfinement(context.stateFolder),
    ...(context.networkNamespace === undefined ? {} : { networkNamespace: context.networkNamespace }),
  };
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
    await removeFiles(store, { name });
    return;
  }
  const status = statusOf(entry.record);
  if (status === 'creating' || status === 'starting') {
    // Its VMM may be starting at this moment, and only its maker knows.
    const advice = `Try again when it runs, or end its maker (process ${entry.record.owner?.pid}).`;
    throw new VmError(
      'BUSY',
      `${name} is just being ${status === 'creating' ? 'made' : 'started'} by another process`,
      { name, advice },
    );
  }
  if ((status === 'running' || status === 'paused') && options.force !== true) {
    throw new VmError('INVALID_STATE', `${name} is ${status}`, {
      name,
      advice: 'Stop it first, or use force (`polyvisor rm -f`).',
    });
  }
  await endVmm(store, entry.record);
  await endForwarder(entry.record);
  await removeFiles(store, entry.record);
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
    // Its keeper writes into the folder how it ended.
    await waitGone(record.vmm, { timeoutMs: killMs, alive: vmFiles.alive(store.folder(record.name)) });
  }
}

function forwarderOf({ forwarder }: VmRecord): number[] {
  return forwarder !== undefined && isAlive(forwarder) ? [forwarder.pid] : [];
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
  const known = await settleIfPossible(store, record);
  const { id, hypervisor, createdAt, vcpus, memoryMiB, accel, image, ended } = known;
  const status = statusOf(known);
  const running = status === 'running' || status === 'paused';
  return {
    name,
    id,
    hypervisor,
    status,
    detached: isDetached(known),
    createdAt,
    pid: running ? record.vmm?.pid : undefined,
    vcpus,
    memoryMiB,
    accel,
    image,
    ended,
    frozen: status === 'running' && record.vmm !== undefined && isFrozen(record.vmm) ? true : undefined,
  };
}
