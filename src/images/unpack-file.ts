import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { VmError } from '../errors.ts';
import { runTool } from './host-tool.ts';
import type { BuildScope } from './packages.ts';

/** A kernel or a module is far smaller. */
const maxBytes = 512 << 20;

/**
 * The content of a packed file: `.xz` (Debian 13, Fedora), `.zst` (Ubuntu, Arch) or `.gz`. The file stays as it is.
 * @throws {VmError} HOST_MISSING without the program xz or zstd; IMAGE_BUILD_FAILED with its words; FILE_UNREADABLE, ABORTED
 */
export async function unpackFile(path: string, scope: Pick<BuildScope, 'scratch' | 'signal'>): Promise<Buffer> {
  if (path.endsWith('.gz')) return gunzipSync(await readFile(path), { maxOutputLength: maxBytes });
  const [program, ...args] = path.endsWith('.xz') ? ['xz', '-dc', '--', path] : ['zstd', '-dcqf', '--', path];
  const folder = await mkdtemp(join(scope.scratch, 'unpacked-file-'));
  const target = join(folder, 'content');
  const file = await open(target, 'wx', 0o600);
  try {
    const { exitCode, errors } = await runTool(program ?? '', args, {
      signal: scope.signal,
      stdout: file.fd,
      advice: 'Kernels and modules of this host are packed by it: install xz-utils, or zstd.',
    });
    if (exitCode !== 0)
      throw new VmError('IMAGE_BUILD_FAILED', `${program} cannot unpack ${path}: ${errors.trim()}`, { exitCode });
    if ((await stat(target)).size > maxBytes)
      throw new VmError('IMAGE_BUILD_FAILED', `${path} unpacks to more than ${maxBytes} bytes`, { path });
    return await readFile(target);
  } finally {
    await file.close();
    await rm(folder, { recursive: true, force: true });
  }
}
