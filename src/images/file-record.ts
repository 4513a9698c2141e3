import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { FileRecord } from './image.ts';

/** SHA-256 of bytes, in hex. */
export function sha256(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Size and SHA-256 of bytes. */
export function describeBytes(content: Uint8Array): FileRecord {
  return { sha256: sha256(content), size: content.length };
}

/** Size and SHA-256 of a file, read in pieces. */
export async function describeFile(path: string): Promise<FileRecord> {
  const file = await open(path, 'r');
  try {
    const hash = createHash('sha256');
    let size = 0;
    for await (const piece of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      hash.update(piece);
      size += piece.length;
    }
    return { sha256: hash.digest('hex'), size };
  } finally {
    await file.close();
  }
}
