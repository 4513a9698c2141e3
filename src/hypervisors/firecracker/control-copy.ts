import { constants } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';

/** Bytes that are looked at as one: a hole is no smaller. */
const pieceBytes = 1 << 20;
const zeros = Buffer.alloc(pieceBytes);

/**
 * Copies a file into a new one (0600). The copy shares the file's blocks where the file system can; else what is zero is left out: a guest's
 * memory is mostly that, and all that could be plugged into it lies in the file as well.
 */
export async function copySparsely(source: string, target: string): Promise<void> {
  const { COPYFILE_FICLONE_FORCE, COPYFILE_EXCL } = constants;
  const cloned = await copyFile(source, target, COPYFILE_FICLONE_FORCE | COPYFILE_EXCL).then(
    () => true,
    () => false,
  );
  if (cloned) return;
  const from = await open(source, 'r');
  try {
    const to = await open(target, 'wx', 0o600);
    try {
      const piece = Buffer.alloc(pieceBytes);
      for (let at = 0; ;) {
        const { bytesRead } = await from.read(piece, 0, pieceBytes, at);
        if (bytesRead === 0) return await to.truncate(at);
        const found = piece.subarray(0, bytesRead);
        if (!found.equals(zeros.subarray(0, bytesRead))) await to.write(found, 0, bytesRead, at);
        at += bytesRead;
      }
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}
