import { closeSync, constants, openSync } from 'node:fs';
import { rm, statfs } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { type Passed, streamToFile } from '../../transports/file-stream.ts';
import { makeFifos } from '../../transports/process/fifo.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import { giveToVmm } from '../give-to-vmm.ts';
import { requireFree } from '../move-file.ts';

/** Bytes of headers, notes and device memory beside the guest's own. */
const overheadBytes = 64 * 2 ** 20;

/**
 * Writes the guest's memory into a new ELF file, which crash(8) and gdb(1) read. QEMU writes into a FIFO in its own folder: it may have no
 * other place to write to, and needs none. The guest stands still meanwhile.
 * @param fifo a free name in the VMM's folder
 * @throws {VmError} IO when the file is there, or has not enough room (checked before); VMM_FAILED, ABORTED, TIMEOUT
 */
export async function dumpToFile(
  qmp: QmpClient,
  fifo: string,
  file: string,
  { memoryBytes, paging }: { memoryBytes: number; paging: boolean },
  call: CallOptions,
): Promise<Passed> {
  await requireFree(file);
  await requireRoom(file, memoryBytes + overheadBytes);
  await makeFifos(fifo);
  try {
    giveToVmm(fifo);
    // Open before QEMU opens it, which would wait for a reader otherwise; for reading alone, so that QEMU's end ends it.
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const done = qmp.nextEvent(({ event }) => event === 'DUMP_COMPLETED', { signal: call.signal });
    done.catch(() => undefined);
    let stream: net.Socket | undefined;
    try {
      await qmp.execute('dump-guest-memory', { paging, protocol: `file:${fifo}`, detach: true }, call);
      // Read only now that QEMU has it open: before, it would be at its end.
      stream = new net.Socket({ fd: reader, readable: true, writable: false });
      const written = streamToFile(stream, file, () => undefined);
      const [passed, { data }] = await Promise.all([written, done]);
      if (typeof data['error'] === 'string') throw new VmError('VMM_FAILED', `the dump failed: ${data['error']}`);
      return passed;
    } catch (error) {
      // Another one's, that came in between, stays.
      if (VmError.from(error).facts.errno !== 'EEXIST') await rm(file, { force: true });
      throw error;
    } finally {
      if (stream === undefined) closeSync(reader);
      else stream.destroy();
    }
  } finally {
    await rm(fifo, { force: true });
  }
}

async function requireRoom(file: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(path.dirname(file)).catch((error: unknown) => {
    throw VmError.from(error, 'IO', { path: path.dirname(file) });
  });
  if (bavail * bsize >= bytes) return;
  const mib = (count: number): number => Math.ceil(count / 2 ** 20);
  throw new VmError(
    'IO',
    `a dump needs ${mib(bytes)} MiB of room, and ${path.dirname(file)} has ${mib(bavail * bsize)}`,
    {
      operation: 'dumpMemory',
      path: file,
    },
  );
}
