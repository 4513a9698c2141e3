import type { CallOptions } from '../../config/call-options.ts';
import type { DiskStatistics, NetworkStatistics } from '../vmm-statistics.ts';
import type { CloudHypervisorControl } from './control.ts';
import type { OwnDevice } from './devices.ts';

/** What Cloud Hypervisor counts of its VM. */
export interface Counters {
  guestMemoryBytes: number;
  disks: DiskStatistics[];
  networks: NetworkStatistics[];
}

export async function counters(
  control: CloudHypervisorControl,
  devices: readonly OwnDevice[],
  call: CallOptions,
): Promise<Counters> {
  const { memory_actual_size: guestMemoryBytes } = await control.info(call);
  const all = await control.counters(call);
  // Those that count nothing, such as an nvdimm, are not in the answer.
  const counted = devices.filter(({ id }) => Object.hasOwn(all, id));
  const of = (id: string, name: string): number => all[id]?.[name] ?? 0;
  return {
    guestMemoryBytes,
    disks: counted
      .filter(({ kind }) => kind === 'block')
      .map(({ id }) => ({
        id,
        readBytes: of(id, 'read_bytes'),
        writtenBytes: of(id, 'write_bytes'),
        readOperations: of(id, 'read_ops'),
        writeOperations: of(id, 'write_ops'),
      })),
    networks: counted
      .filter(({ kind }) => kind === 'net')
      .map(({ id }) => ({
        id,
        receivedBytes: of(id, 'rx_bytes'),
        sentBytes: of(id, 'tx_bytes'),
        receivedPackets: of(id, 'rx_frames'),
        sentPackets: of(id, 'tx_frames'),
      })),
  };
}
