import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { VmError } from '../errors.ts';

/** Bytes read at a time when looking for the beginning of the last lines. */
const blockBytes = 64 * 1024;

/**
 * A log as a stream.
 * @param lines only the last ones; all when undefined
 * @throws {VmError} IO when it can't be read
 */
export async function readTail(file: string, lines: number | undefined): Promise<Readable> {
  const handle = await open(file, 'r').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw new VmError('IO', `cannot read the log: ${cause.message}`, { path: file, errno: cause.code, cause });
  });
  // A VM whose VMM never ran has no log yet: that is an empty one.
  if (handle === undefined) return createReadStream('/dev/null');
  try {
    const { size } = await handle.stat();
    const start = lines === undefined ? 0 : await offsetOf(handle, size, lines);
    if (start >= size) {
      await handle.close();
      return createReadStream('/dev/null');
    }
    // Up to what was there at the beginning: a guest that writes on and on doesn't keep us here.
    return handle.createReadStream({ start, end: size - 1 });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Where the last lines begin, found from the end. */
async function offsetOf(handle: Awaited<ReturnType<typeof open>>, size: number, lines: number): Promise<number> {
  if (lines === 0) return size;
  const block = Buffer.alloc(blockBytes);
  let found = 0;
  for (let end = size; end > 0; end -= blockBytes) {
    const start = Math.max(0, end - blockBytes);
    const { bytesRead } = await handle.read(block, 0, end - start, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      // The line feed that ends the last line begins no line.
      if (block[at] !== 0x0a || start + at === size - 1) continue;
      if (++found === lines) return start + at + 1;
    }
  }
  return 0;
}
