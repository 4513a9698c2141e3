import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { once } from 'node:events';
import { VmError } from '../errors.ts';

/** What went through, so that it can be recognised later. */
export interface Passed {
  bytes: number;
  /** hexadecimal */
  sha256: string;
}

/** Bytes that are read of a file at once. */
const chunkBytes = 1 << 20;

/**
 * Writes what comes out of a stream into a new file of mode 0600 until the stream ends. The stream waits while the disk is slower.
 * @throws {VmError} IO; what the stream fails with
 */
export async function streamToFile(stream: Duplex, path: string, onBytes: (bytes: number) => void): Promise<Passed> {
  const hash = createHash('sha256');
  let bytes = 0;
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => fail(path, error));
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hash.update(chunk);
      await file.writeFile(chunk).catch((error: unknown) => fail(path, error));
      bytes += chunk.length;
      onBytes(bytes);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
  return { bytes, sha256: hash.digest('hex') };
}

/**
 * Writes a file into a stream and ends the stream. Reading waits while the stream's other side is slower.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, IO; ABORTED when the signal comes; what the stream fails with
 */
export async function fileToStream(path: string, stream: Duplex, signal: AbortSignal): Promise<Passed> {
  const hash = createHash('sha256');
  let bytes = 0;
  const file = await open(path, 'r').catch((error: unknown) => fail(path, error));
  try {
    for (;;) {
      // A buffer of its own for each piece: the stream may still hold the one before.
      const piece = await file.read(Buffer.allocUnsafe(chunkBytes)).catch((error: unknown) => fail(path, error));
      if (piece.bytesRead === 0) break;
      const chunk = piece.buffer.subarray(0, piece.bytesRead);
      hash.update(chunk);
      bytes += chunk.length;
      if (!stream.write(chunk)) await once(stream, 'drain', { signal });
    }
  } finally {
    await file.close();
  }
  stream.end();
  return { bytes, sha256: hash.digest('hex') };
}

function fail(path: string, error: unknown): never {
  const { code: errno, message } = error as NodeJS.ErrnoException;
  const code = errno === 'ENOENT' ? 'FILE_NOT_FOUND' : errno === 'EACCES' ? 'FILE_UNREADABLE' : 'IO';
  throw new VmError(code, `${path}: ${message}`, { path, errno, cause: error });
}
