import { rm } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import { isAlive } from '../../state/process-identity.ts';
import { waitGone } from '../../transports/process/wait-gone.ts';
import { FsDaemon } from '../fs-daemon.ts';
import type { VmContext } from '../hypervisor.ts';
import { fsDriver } from './devices-kinds.ts';
import type { Placed } from './devices-place.ts';

/*
 * The processes behind shared folders: each must listen before QEMU looks for it, and ends with QEMU's connection.
 */

/** Starts the process behind a device that has one of ours. @throws {VmError} as `FsDaemon.start` does */
export async function startDaemon(
  { device }: Placed,
  context: VmContext,
  call: CallOptions,
): Promise<FsDaemon | undefined> {
  if (device.kind !== 'fs' || fsDriver(device, context.config) !== 'virtio-fs') return undefined;
  const socket = vmmFiles.deviceSocket(context.runtimeFolder, device.id);
  return FsDaemon.start(device, { ...context, socket }, call);
}

/**
 * Has the processes behind devices while `start` starts what connects to them.
 * @returns the devices, each with its process
 */
export async function withDaemons(
  devices: readonly Placed[],
  context: VmContext,
  call: CallOptions,
  start: () => Promise<void>,
): Promise<Placed[]> {
  const daemons = new Map<Placed, FsDaemon>();
  try {
    for (const placed of devices) {
      const daemon = await startDaemon(placed, context, call);
      if (daemon !== undefined) daemons.set(placed, daemon);
    }
    await start();
    for (const daemon of daemons.values()) await daemon.letGo();
    return devices.map((placed) => {
      const daemon = daemons.get(placed)?.identity;
      return daemon === undefined ? placed : { ...placed, daemon };
    });
  } catch (error) {
    for (const daemon of daemons.values()) await daemon.end();
    throw error;
  }
}

/** Waits until the process behind a device that is gone has ended, and removes what it leaves. @throws {VmError} TIMEOUT, ABORTED */
export async function clearDaemon(
  { device, daemon }: Placed,
  { stateFolder, runtimeFolder }: Pick<VmContext, 'stateFolder' | 'runtimeFolder'>,
  call: CallOptions,
): Promise<void> {
  const socket = vmmFiles.deviceSocket(runtimeFolder, device.id);
  if (device.kind === 'serial-port') await rm(socket, { force: true });
  if (daemon === undefined) return;
  await waitGone(daemon, call);
  await FsDaemon.clear(device.id, { stateFolder, socket });
}

/** @throws {VmError} VMM_FAILED when the process behind a device of a running VM has ended */
export function requireDaemons(devices: readonly Placed[]): void {
  for (const { device, daemon } of devices) {
    if (daemon === undefined || isAlive(daemon)) continue;
    throw new VmError(
      'VMM_FAILED',
      `virtiofsd has ended, which serves the shared folder ${device.id}: who uses it waits`,
      {
        advice: 'Attach the folder again, under another id. What waits for the old one waits until the VM ends.',
      },
    );
  }
}
