import { vmmFiles } from '../../state/paths.ts';
import type { QemuControl } from './control.ts';
import { migrateFromFile } from './control-migration.ts';
import { hostNode } from './control-devices.ts';
import type { Placed } from './devices-place.ts';
import { requireSame, type SavedMachine } from './state-saved.ts';

/** Milliseconds for gigabytes to come from a disk. */
const loadMs = 600_000;

/** What a QEMU that waits is to be fed with. */
export interface Load {
  saved: SavedMachine;
  /** file with devices, and with memory unless that is a file of its own */
  stream: string;
  memory?: string | undefined;
}

/** Feeds a QEMU that waits for it; the guest stands still afterwards. @throws {VmError} VMM_FAILED, VMM_GONE, FILE_*, ABORTED, TIMEOUT */
export async function loadSaved(
  control: QemuControl,
  runtimeFolder: string,
  { saved, stream, memory }: Load,
  call: { signal: AbortSignal },
): Promise<void> {
  const load = { ...call, withoutSharedMemory: memory !== undefined };
  const { sha256 } = await control.session(
    (qmp) => migrateFromFile(qmp, vmmFiles.migration(runtimeFolder), stream, load),
    { ...call, timeoutMs: loadMs },
  );
  requireSame(sha256, stream, saved);
}

/** A macvtap may have another node than when the VM was saved. */
export async function withNodes(saved: SavedMachine, networkNamespace: string | undefined): Promise<SavedMachine> {
  const devices: Placed[] = [];
  for (const placed of saved.devices)
    devices.push({ ...placed, node: await hostNode(placed.device, networkNamespace) });
  return { ...saved, devices };
}
