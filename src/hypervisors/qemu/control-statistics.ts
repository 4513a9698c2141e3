import type { CallOptions } from '../../config/call-options.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { DiskStatistics } from '../vmm-statistics.ts';
import type { BlockStats, CpuInfoFast } from './wire.ts';

/** What QEMU itself counts. */
export interface QemuCounters {
  threadIds: Map<number, number>;
  disks: DiskStatistics[];
  /** memory that the guest can use now, without what its balloon holds */
  guestMemoryBytes: number;
}

/** All counters by one visit to the monitor. */
export async function counters(qmp: QmpClient, hasBalloon: boolean, call: CallOptions): Promise<QemuCounters> {
  const [cpus, blocks, sizes, balloon] = await Promise.all([
    qmp.execute<CpuInfoFast[]>('query-cpus-fast', undefined, call),
    qmp.execute<BlockStats[]>('query-blockstats', undefined, call),
    qmp.execute<{ 'base-memory': number; 'plugged-memory'?: number }>('query-memory-size-summary', undefined, call),
    hasBalloon ? qmp.execute<{ actual: number }>('query-balloon', undefined, call) : undefined,
  ]);
  return {
    threadIds: new Map(cpus.map((cpu) => [cpu['cpu-index'], cpu['thread-id']])),
    disks: blocks.map(disk),
    guestMemoryBytes: balloon?.actual ?? sizes['base-memory'] + (sizes['plugged-memory'] ?? 0),
  };
}

function disk({ device, qdev, 'node-name': node, stats }: BlockStats): DiskStatistics {
  return {
    // A disk made by `-blockdev` has no name of its own but that of its front end.
    id: deviceName(qdev) ?? node ?? device ?? '',
    readBytes: stats.rd_bytes,
    writtenBytes: stats.wr_bytes,
    readOperations: stats.rd_operations,
    writeOperations: stats.wr_operations,
  };
}

/** `/machine/peripheral/disk0/virtio-backend` is disk0's. */
function deviceName(qdev: string | undefined): string | undefined {
  return /^(?:\/machine\/peripheral\/)?([^/]+)/.exec(qdev ?? '')?.[1];
}
