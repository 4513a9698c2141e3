import { setTimeout as sleep } from 'node:timers/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { QmpEvent } from '../../transports/qmp/messages.ts';
import type { BlockStats, VirtioStatus } from './wire.ts';

/** The guest's word on what came and what is to go: source events and status codes of ACPI's _OST (ACPI 6.4, 6.3.5). */
const deviceCheck = 1;
const ejectionRequest = 3;
const ejectionSucceeded = 0;
const ejectionPending = 0x84;

/** Milliseconds that a guest gets to say that it has seen what came: one that never says so may see it all the same. */
const insertionMs = 5_000;
/** Milliseconds between two looks at what has no event. */
const pollMs = 4;

/**
 * Plugs a part and waits until the guest has seen it. A guest without ACPI, or one that is busy, says nothing: the part is there all the same.
 * @param plug makes it there; what it throws is thrown
 */
export async function plugged(qmp: QmpClient, id: string, call: CallOptions, plug: () => Promise<void>): Promise<void> {
  const seen = qmp.nextEvent((event) => isInsertion(event, id), { signal: call.signal, timeoutMs: insertionMs });
  seen.catch(() => undefined);
  await plug();
  await seen.catch((error: unknown) => {
    if (VmError.from(error).code !== 'TIMEOUT') throw error;
  });
}

/**
 * Waits until the guest has read a disk: it looks for partitions as soon as it has it. QEMU has no event for that. A guest that never does
 * so, as one that still boots, has the disk all the same.
 */
export async function diskRead(qmp: QmpClient, id: string, call: CallOptions): Promise<void> {
  const deadline = performance.now() + insertionMs;
  const isRead = ({ qdev, stats }: BlockStats): boolean =>
    stats.rd_operations > 0 && (qdev === id || qdev?.startsWith(`/machine/peripheral/${id}/`) === true);
  while (!(await qmp.execute<BlockStats[]>('query-blockstats', undefined, call)).some(isRead)) {
    if (performance.now() > deadline) return;
    await sleep(pollMs, undefined, { signal: call.signal });
  }
}

/**
 * Waits until the guest's driver has taken a virtio device. QEMU has no event for that, and before 7.2 no word: then, and with a guest that
 * has no such driver, the device is there all the same.
 */
export async function driven(qmp: QmpClient, id: string, call: CallOptions): Promise<void> {
  const deadline = performance.now() + insertionMs;
  for (;;) {
    const path = `/machine/peripheral/${id}/virtio-backend`;
    const found = await qmp.execute<VirtioStatus>('x-query-virtio-status', { path }, call).catch((error: unknown) => {
      if (VmError.from(error).code !== 'VMM_FAILED') throw error;
    });
    if (found === undefined || found.status.statuses.some((text) => text.includes('DRIVER_OK'))) return;
    if (performance.now() > deadline) return;
    await sleep(pollMs, undefined, { signal: call.signal });
  }
}

/** A part of the machine that the guest is asked to let go of. */
export interface Part {
  /** its place in QEMU's tree of objects, such as `/machine/peripheral/cpu-1` */
  path: string;
  /** what it is called in messages, such as `a vCPU` */
  what: string;
  /** what ACPI calls its slot, for a part without an id: kind and number */
  slot?: { type: 'CPU' | 'DIMM'; number: number };
}

/**
 * Asks the guest for a part, and waits until it is gone.
 * @throws {VmError} GUEST_REFUSED when the guest says that it keeps it, TIMEOUT, ABORTED, VMM_FAILED, VMM_GONE
 */
export async function unplug(qmp: QmpClient, part: Part, call: CallOptions): Promise<void> {
  const over = new AbortController();
  const signal = call.signal === undefined ? over.signal : AbortSignal.any([call.signal, over.signal]);
  const answer = qmp.nextEvent((event) => isGone(event, part) || isRefused(event, part), { signal });
  // Heard before the request is sent; whoever leaves early must not leave a rejection behind.
  answer.catch(() => undefined);
  try {
    await qmp.execute('device_del', { id: part.path }, call).catch((error: unknown) => {
      // Asked by an earlier call, which did not wait for it.
      if (!VmError.from(error).rawMessage.includes('already in the process of unplug')) throw error;
    });
    if (isGone(await answer, part)) return;
  } finally {
    over.abort();
  }
  throw new VmError('GUEST_REFUSED', `the guest keeps ${part.what}`, { operation: 'device_del' });
}

function isInsertion({ event, data }: QmpEvent, id: string): boolean {
  const { info } = data as { info?: Record<string, unknown> };
  return event === 'ACPI_DEVICE_OST' && info?.['device'] === id && info['source'] === deviceCheck;
}

/**
 * Under TCG a vCPU itself is never reported as deleted, only the interrupt controller that is a part of it. Parts of other devices go
 * before the devices themselves.
 */
function isGone({ event, data }: QmpEvent, { path, slot }: Part): boolean {
  const gone = data['path'];
  if (event !== 'DEVICE_DELETED' || typeof gone !== 'string') return false;
  return gone === path || (slot?.type === 'CPU' && gone.startsWith(`${path}/`));
}

function isRefused({ event, data }: QmpEvent, part: Part): boolean {
  if (event === 'DEVICE_UNPLUG_GUEST_ERROR') return data['path'] === part.path;
  const { info } = data as { info?: Record<string, unknown> };
  if (event !== 'ACPI_DEVICE_OST' || info?.['source'] !== ejectionRequest) return false;
  if (info['status'] === ejectionSucceeded || info['status'] === ejectionPending) return false;
  if (info['device'] === part.path.split('/').at(-1)) return true;
  return info['slot-type'] === part.slot?.type && info['slot'] === String(part.slot?.number);
}
