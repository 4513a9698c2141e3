import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import type { BlockInfo, QomProperty } from './wire.ts';

/**
 * Makes sure that a saved VM would be whole: that whatever has a name in this machine is also in the one that would be started for it, and
 * that it has no disk that the guest may write, since a snapshot holds no disks.
 * @param restored what QEMU would be told that goes on with it
 * @throws {VmError} UNSUPPORTED, naming every device that stands in the way
 */
export async function requireComplete(qmp: QmpClient, restored: LaunchPlan, call: CallOptions): Promise<void> {
  const there = await qmp.execute<QomProperty[]>('qom-list', { path: '/machine/peripheral' }, call);
  const known = new Set(restored.argv.flatMap(idOf));
  const lost = there.filter(({ name, type }) => type.startsWith('child<') && !known.has(name)).map(({ name }) => name);
  const disks = await qmp.execute<BlockInfo[]>('query-block', undefined, call);
  const writable = disks.filter(({ inserted }) => inserted?.ro === false).map(({ qdev, device }) => qdev ?? device);
  const reasons = [
    ...lost.map((id) => `the state of ${id} can't be saved`),
    ...writable.map((id) => `the guest may write to the disk ${id}, and a snapshot holds no disks`),
  ];
  if (reasons.length === 0) return;
  throw new VmError('UNSUPPORTED', reasons.join('; '), {
    operation: 'save',
    advice: `Unplug ${[...new Set([...lost, ...writable])].join(', ')} first.`,
  });
}

/** The id in an argument that is JSON, if it is one of a device. */
function idOf(word: string): string[] {
  if (!word.startsWith('{"driver":')) return [];
  const { id } = JSON.parse(word) as { id?: string };
  return id === undefined ? [] : [id];
}
