import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import type { DiskStatistics, NetworkStatistics } from '../vmm-statistics.ts';
import type { BlockMetrics, NetMetrics } from './wire.ts';

/** Bytes of one line of the metrics file: far more than any has. */
const maxLineBytes = 4 * 2 ** 20;
const pieceBytes = 256 * 1024;

type Counters = Record<string, number>;

/**
 * Adds up Firecracker's metrics file. A line of JSON comes each minute, and when it is asked for; it has what was counted since the line
 * before. What was read stays added up: the next time only new lines are read.
 */
export class FirecrackerMetrics {
  readonly #path: string;
  readonly #sums = new Map<string, Counters>();
  #offset = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads on. @throws {VmError} VMM_FAILED when the file is not what Firecracker writes, IO */
  async read(): Promise<void> {
    // Not followed: the file is in a folder that a VMM may write to.
    const file = await open(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
      (error: NodeJS.ErrnoException) => {
        throw new VmError('IO', `the metrics cannot be read: ${error.message}`, {
          path: this.#path,
          errno: error.code,
        });
      },
    );
    try {
      let rest = Buffer.alloc(0);
      for (;;) {
        const at = this.#offset + rest.length;
        const { buffer, bytesRead } = await file.read(Buffer.alloc(pieceBytes), 0, pieceBytes, at);
        if (bytesRead === 0) return;
        rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
        if (rest.length > maxLineBytes) throw this.#unreadable();
        for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
          this.#add(rest.subarray(0, end).toString('utf8'));
          this.#offset += end + 1;
          rest = rest.subarray(end + 1);
        }
      }
    } finally {
      await file.close();
    }
  }

  /** Counters of a disk. @param name in Firecracker's API */
  disk(id: string, name: string): DiskStatistics {
    const of = (key: keyof BlockMetrics): number => this.#sums.get(`block_${name}`)?.[key] ?? 0;
    return {
      id,
      readBytes: of('read_bytes'),
      writtenBytes: of('write_bytes'),
      readOperations: of('read_count'),
      writeOperations: of('write_count'),
    };
  }

  /** Counters of a card. @param name in Firecracker's API */
  network(id: string, name: string): NetworkStatistics {
    const of = (key: keyof NetMetrics): number => this.#sums.get(`net_${name}`)?.[key] ?? 0;
    return {
      id,
      receivedBytes: of('rx_bytes_count'),
      sentBytes: of('tx_bytes_count'),
      receivedPackets: of('rx_packets_count'),
      sentPackets: of('tx_packets_count'),
    };
  }

  #add(line: string): void {
    let groups: unknown;
    try {
      groups = JSON.parse(line);
    } catch (error) {
      throw this.#unreadable(error);
    }
    for (const [name, group] of Object.entries(groups as Record<string, unknown>)) {
      if (!/^(block|net)_/.test(name) || typeof group !== 'object' || group === null) continue;
      const sums = this.#sums.get(name) ?? {};
      for (const [key, value] of Object.entries(group))
        if (typeof value === 'number') sums[key] = (sums[key] ?? 0) + value;
      this.#sums.set(name, sums);
    }
  }

  #unreadable(cause?: unknown): VmError {
    return new VmError('VMM_FAILED', 'the metrics file is not what Firecracker writes', { path: this.#path, cause });
  }
}
