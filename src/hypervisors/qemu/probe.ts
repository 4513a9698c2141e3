import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { HostFacts } from '../../config/host.ts';
import { VmError } from '../../errors.ts';
import type { HostVerdict } from '../hypervisor.ts';

/** The oldest QEMU that takes `-device` as JSON (QEMU's ChangeLog for 6.2). */
const oldest = [6, 2] as const;

const installAdvice = 'Install it (Debian: `apt install qemu-system-x86`), or name its path with `hypervisorPath`.';

/** Finds QEMU and asks for its version. */
export async function probe(host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  const program = `qemu-system-${host.arch === 'amd64' ? 'x86_64' : 'aarch64'}`;
  const path = hypervisorPath ?? (await search(program));
  if (path === undefined)
    return { usable: false, findings: [{ problem: `${program} is not on the PATH`, advice: installAdvice }] };
  let version: string;
  try {
    version = await versionOf(path);
  } catch (error) {
    const problem = VmError.from(error).rawMessage;
    return { usable: false, path, findings: [{ problem, advice: installAdvice }] };
  }
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    const problem = `${path} is QEMU ${version}; the oldest that works is ${oldest.join('.')}`;
    return { usable: false, path, version, findings: [{ problem, advice: 'Install a newer QEMU.' }] };
  }
  return { usable: true, path, version, findings: [] };
}

async function search(program: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, program);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder: the next one may have it
    }
  }
  return undefined;
}

/** Versions by the very file that said them: asking costs a process, and a program that makes many VMs would ask each time. */
const known = new Map<string, string>();

/** @throws {VmError} HYPERVISOR_NOT_FOUND when the program doesn't run or doesn't name its version */
async function versionOf(path: string): Promise<string> {
  const file = await stat(path, { bigint: true }).catch(() => undefined);
  if (file === undefined) return askVersion(path);
  const key = `${path}\0${file.dev}:${file.ino}:${file.size}:${file.ctimeNs}`;
  const version = known.get(key) ?? (await askVersion(path));
  known.set(key, version);
  return version;
}

async function askVersion(path: string): Promise<string> {
  let output: string;
  try {
    output = (await promisify(execFile)(path, ['--version'], { timeout: 10_000, maxBuffer: 65_536 })).stdout;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new VmError('HYPERVISOR_NOT_FOUND', `${path} does not run: ${reason}`, { path, cause: error });
  }
  const found = /version (\d+\.\d+(?:\.\d+)?)/.exec(output)?.[1];
  if (found === undefined)
    throw new VmError('HYPERVISOR_NOT_FOUND', `${path} does not say its version as QEMU does`, { path });
  return found;
}
