import { constants } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { runTool, type ToolResult } from './host-tool.ts';

const headerBytes = 60;
const pieceBytes = 1 << 20;

/**
 * Unpacks a package into a folder, without installing it or running its scripts: by dpkg-deb, or by tar where the host has none.
 * @throws {VmError} HOST_MISSING, ABORTED, IMAGE_BUILD_FAILED
 */
export async function unpackDeb(
  path: string,
  name: string,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const result = await runTool('dpkg-deb', ['-x', path, folder], { signal }).catch((error: unknown) => {
    if (VmError.from(error).code !== 'HOST_MISSING') throw error;
    return byTar(path, name, folder, signal);
  });
  if (result.exitCode === 0) return;
  throw new VmError('IMAGE_BUILD_FAILED', `${name} cannot be unpacked: ${result.errors.trim()}`, {
    exitCode: result.exitCode,
    log: result.errors,
  });
}

/** A package is an ar(5) archive, one member of which is a tar archive of its files (deb(5)). */
async function byTar(path: string, name: string, folder: string, signal: AbortSignal | undefined): Promise<ToolResult> {
  const file = await open(path, 'r');
  try {
    const { at, size, member } = await dataOf(file, name);
    const data = join(folder, `.${member}`);
    await copyPart(file, at, size, data);
    try {
      // It finds out by itself how the archive is packed. Nothing is given away to the owners that are in there.
      return await runTool('tar', ['-x', '-o', '-f', data, '-C', folder], {
        signal,
        advice: 'Packages are unpacked by dpkg-deb, or by tar with xz or zstd: install one of them.',
      });
    } finally {
      await rm(data, { force: true });
    }
  } finally {
    await file.close();
  }
}

async function dataOf(file: FileHandle, name: string): Promise<{ at: number; size: number; member: string }> {
  const { size: end } = await file.stat();
  const header = Buffer.alloc(headerBytes);
  await file.read(header, 0, 8, 0);
  if (header.toString('latin1', 0, 8) !== '!<arch>\n') throw damaged(name);
  for (let at = 8; at + headerBytes <= end;) {
    await file.read(header, 0, headerBytes, at);
    const size = Number(header.toString('latin1', 48, 58).trim());
    at += headerBytes;
    if (header.toString('latin1', 58) !== '`\n' || !Number.isSafeInteger(size) || size < 0 || at + size > end)
      throw damaged(name);
    const member = header.toString('latin1', 0, 16).replace(/\/? *$/, '');
    if (/^data\.tar(\.[a-z0-9]{1,4})?$/.test(member)) return { at, size, member };
    at += size + (size % 2);
  }
  throw damaged(name);
}

async function copyPart(from: FileHandle, start: number, size: number, target: string): Promise<void> {
  const to = await open(target, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    const piece = Buffer.allocUnsafeSlow(pieceBytes);
    for (let done = 0; done < size;) {
      const { bytesRead } = await from.read(piece, 0, Math.min(pieceBytes, size - done), start + done);
      await to.writeFile(piece.subarray(0, bytesRead));
      done += bytesRead;
    }
  } finally {
    await to.close();
  }
}

function damaged(name: string): VmError {
  return new VmError('IMAGE_BUILD_FAILED', `${name} cannot be unpacked: it is no Debian package`);
}
