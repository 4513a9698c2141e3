import { readFileSync } from 'node:fs';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { VmContext } from '../hypervisor.ts';
import { plugged, unplug } from './control-plug.ts';
import { cpuId } from './plan-ids.ts';
import type { HotpluggableCpu } from './wire.ts';

/** The places for vCPUs in the machine, in the order in which they are filled. */
export async function cpuPlaces(qmp: QmpClient, call: CallOptions): Promise<HotpluggableCpu[]> {
  // QEMU lists the last one first.
  return (await qmp.execute<HotpluggableCpu[]>('query-hotpluggable-cpus', undefined, call)).toReversed();
}

/**
 * Plugs or unplugs vCPUs until there are so many. What it returns was asked of QEMU.
 * @throws {VmError} INVALID_ARGUMENT below 1 or above the maximum; GUEST_REFUSED, TIMEOUT when the guest keeps a vCPU; VMM_FAILED
 */
export async function resizeVcpus(
  qmp: QmpClient,
  vcpus: number,
  facts: Pick<VmContext, 'config' | 'accel' | 'runtimeFolder'>,
  call: CallOptions,
): Promise<{ before: number; after: number }> {
  const { maxVcpus } = facts.config;
  if (!(Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= maxVcpus)) {
    throw new VmError('INVALID_ARGUMENT', `vcpus must be from 1 to ${maxVcpus}, not ${vcpus}`, { field: 'vcpus' });
  }
  const places = [...(await cpuPlaces(qmp, call)).entries()];
  const free = places.filter(([, cpu]) => !isFilled(cpu));
  const filled = places.filter(([, cpu]) => isFilled(cpu));
  const before = filled.length;
  if (vcpus > before) refuseAfterTcgUnplug(facts, 'resizeVcpus');
  for (const [place, { type, props }] of free.slice(0, Math.max(0, vcpus - before))) {
    const id = cpuId(place);
    await plugged(qmp, id, call, async () => {
      await qmp.execute('device_add', { driver: type, id, ...props }, call);
    });
  }
  for (const [number, cpu] of filled.slice(vcpus).toReversed()) {
    const slot = { type: 'CPU', number } as const;
    await unplug(qmp, { path: cpu['qom-path'] ?? '', what: `vCPU ${number}`, slot }, call);
  }
  const after = (await cpuPlaces(qmp, call)).filter(isFilled).length;
  return { before, after };
}

export function isFilled(cpu: HotpluggableCpu): boolean {
  return cpu['qom-path'] !== undefined;
}

/**
 * A QEMU that emulates keeps using a vCPU that was unplugged, and crashes at the next change of what the guest sees at which address: when
 * anything is plugged (7.2 always, 10.0 mostly).
 * @throws {VmError} UNSUPPORTED when that could happen
 */
export function refuseAfterTcgUnplug(
  { accel, runtimeFolder }: Pick<VmContext, 'accel' | 'runtimeFolder'>,
  operation: string,
): void {
  if (accel !== 'tcg') return;
  const events = readFileSync(vmmFiles.eventsOut(runtimeFolder), 'utf8');
  // Its interrupt controller is the one part of it that is reported as deleted.
  if (!/"DEVICE_DELETED".*\/lapic"/.test(events)) return;
  throw new VmError(
    'UNSUPPORTED',
    'a vCPU was unplugged: QEMU under TCG may crash when anything is plugged after that',
    {
      operation,
      advice: 'Plug first and shrink last, or use KVM.',
    },
  );
}
