import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../errors.ts';
import type { HostVerdict } from './hypervisor.ts';
import { knownVersion, programKey, rememberVersion } from './known-versions.ts';

/** How to find a VMM that is one program, and to tell whether it is new enough. */
export interface ProgramProbe {
  /** as its makers write it */
  name: string;
  /** what to look for on the PATH */
  program: string;
  /** instead of looking */
  path: string | undefined;
  /** takes the version, as its first group, from what `--version` prints */
  version: RegExp;
  oldest: readonly [major: number, minor: number];
  /** how to get it */
  install: string;
}

/** Finds a VMM's program and asks for its version. */
export async function probeProgram(wanted: ProgramProbe): Promise<HostVerdict> {
  const { name, program, oldest, install } = wanted;
  const path = wanted.path ?? search(program);
  if (path === undefined)
    return { usable: false, findings: [{ problem: `${program} is not on the PATH`, advice: install }] };
  let version: string;
  try {
    version = await versionOf(path, wanted);
  } catch (error) {
    const problem = VmError.from(error).rawMessage;
    return { usable: false, path, findings: [{ problem, advice: install }] };
  }
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    const problem = `${path} is ${name} ${version}; the oldest that works is ${oldest.join('.')}`;
    return { usable: false, path, version, findings: [{ problem, advice: `Install a newer ${name}.` }] };
  }
  return { usable: true, path, version, findings: [] };
}

function search(program: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, program);
    if (!existsSync(path)) continue;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not for us: the next one may be
    }
  }
  return undefined;
}

/** @throws {VmError} HYPERVISOR_NOT_FOUND when the program doesn't run or doesn't name its version */
async function versionOf(path: string, wanted: ProgramProbe): Promise<string> {
  const key = programKey(wanted.name, path);
  const known = key === undefined ? undefined : knownVersion(key);
  if (known !== undefined) return known;
  const version = await askVersion(path, wanted);
  if (key !== undefined) await rememberVersion(key, version);
  return version;
}

async function askVersion(path: string, { name, version }: ProgramProbe): Promise<string> {
  let output: string;
  try {
    output = (await promisify(execFile)(path, ['--version'], { timeout: 10_000, maxBuffer: 65_536 })).stdout;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new VmError('HYPERVISOR_NOT_FOUND', `${path} does not run: ${reason}`, { path, cause: error });
  }
  const found = version.exec(output)?.[1];
  if (found === undefined)
    throw new VmError('HYPERVISOR_NOT_FOUND', `${path} does not say its version as ${name} does`, { path });
  return found;
}
