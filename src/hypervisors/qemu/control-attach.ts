import { type CallOptions, inScope } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { NamedDevice } from '../device.ts';
import type { PluggedDevice, VmContext } from '../hypervisor.ts';
import type { VmmProcess } from '../vmm-process.ts';
import type { QemuControl } from './control.ts';
import { refuseAfterTcgUnplug } from './control-cpus.ts';
import { pluggedWithFreeId } from './control-context-id.ts';
import { looked, plugDevice, type PlugNotes, unplugDevice } from './control-devices.ts';
import { clearDaemon, withDaemons } from './control-folders.ts';
import { concealPaths, withPaths } from './control-paths.ts';
import { placedRoot, requirePluggable, requireRemovable, tapMaker } from './devices.ts';
import { inherited } from './plan-descriptors.ts';
import { guestPath, type Placed } from './devices-place.ts';
import { changeDevices } from './state-devices.ts';

/** Milliseconds for a guest to take a device, or to let go of one, when the caller gives no limit. */
const plugMs = 30_000;

/** A QEMU, and how it is asked. */
export interface LiveScope {
  context: VmContext;
  vmm: VmmProcess;
  control: QemuControl;
}

/** Writes down a device for a VM that is to be started. @returns all of them @throws {VmError} as `looked` does */
export async function addBeforeStart(context: VmContext, device: NamedDevice): Promise<readonly Placed[]> {
  return changeDevices(context.stateFolder, {}, async (before, write) => {
    const devices = [...before, ...(await looked(context, withRoot(before, context), device, false))];
    inherited(devices);
    await write(devices);
    return devices;
  });
}

/**
 * Plugs a device into a running VM. When that fails nothing of it is left, but for a controller that was made for it: that stays, and is
 * written down.
 * @throws {VmError} as `looked` and `plugDevice` do; UNSUPPORTED after a vCPU was unplugged under TCG
 */
export async function attach(scope: LiveScope, device: NamedDevice, options: CallOptions): Promise<PluggedDevice> {
  const { context } = scope;
  return inScope(`hot-plug of ${device.id}`, { ...options, timeoutMs: options.timeoutMs ?? plugMs }, async (call) => {
    refuseAfterTcgUnplug(context, 'hotplugAddDevice');
    return changeDevices(context.stateFolder, call, (before, write) =>
      pluggedWithFreeId(device, async () => {
        const wanted = await looked(context, withRoot(before, context), device, true);
        requirePluggable(device, context.config);
        let devices = before;
        for (const placed of wanted) {
          const known = devices;
          const notes = { added: () => write([...known, placed]), takenBack: () => write(known) };
          const plugged = await plugOne(scope, placed, call, notes);
          devices = [...known, ...plugged];
          if (plugged.some(({ daemon }) => daemon !== undefined)) await write(devices);
        }
        return whereabouts(devices, context);
      }),
    );
  });
}

async function plugOne(
  { context, vmm, control }: LiveScope,
  placed: Placed,
  call: CallOptions,
  notes: PlugNotes,
): Promise<Placed[]> {
  return withDaemons([placed], context, call, () =>
    withPaths(vmm, placed, context.config, call, (seen) =>
      control.session(
        async (qmp, limits) => {
          await seen;
          const plug = (): Promise<void> => plugDevice(qmp, placed, context, limits, notes);
          // Whatever it opens as a tap by name becomes its queue: a macvtap's node answers as a tap does (TUNSETIFF in Linux's tap.c).
          if (placed.node === undefined || placed.device.kind !== 'net') await plug();
          else await vmm.standIn({ device: placed.node, as: tapMaker }, plug, limits);
        },
        { ...call, timeoutMs: plugMs },
      ),
    ),
  );
}

/** Of the last of the devices. */
function whereabouts(devices: readonly Placed[], context: VmContext): PluggedDevice {
  const placed = devices.at(-1);
  if (placed === undefined) return {};
  if (placed.device.kind === 'serial-port')
    return { socket: vmmFiles.deviceSocket(context.runtimeFolder, placed.device.id) };
  const path = guestPath(placed, withRoot(devices, context), context.config);
  return path === undefined ? {} : { guestPath: path };
}

/**
 * Takes a device from a running VM; resolves when the guest has let go of it and nothing of it is left.
 * @throws {VmError} INVALID_ARGUMENT when it isn't there; UNSUPPORTED; GUEST_REFUSED, TIMEOUT and what `unplugDevice` throws
 */
export async function detach({ context, vmm, control }: LiveScope, id: string, options: CallOptions): Promise<void> {
  const { config, stateFolder } = context;
  await inScope(`hot-unplug of ${id}`, { ...options, timeoutMs: options.timeoutMs ?? plugMs }, (call) =>
    changeDevices(stateFolder, call, async (before, write) => {
      const placed = before.find(({ device }) => device.id === id && device.kind !== 'controller');
      if (placed === undefined) throw new VmError('INVALID_ARGUMENT', `device ${id} is not plugged`, { field: 'id' });
      requireRemovable(placed, config);
      await control.session((qmp, limits) => unplugDevice(qmp, placed, context, limits), {
        ...call,
        timeoutMs: plugMs,
      });
      await write(before.filter((other) => other !== placed));
      await clearDaemon(placed, context, call);
      await concealPaths(vmm, placed, config);
    }),
  );
}

/** With the root image, which is a disk as well. */
function withRoot(devices: readonly Placed[], { config }: VmContext): Placed[] {
  return [...placedRoot(config), ...devices];
}
