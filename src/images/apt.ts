import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestArch } from '../config/host.ts';
import { VmError } from '../errors.ts';
import { runTool, type ToolOptions, type ToolResult } from './host-tool.ts';
import { type DebianPackage, dependencies, type PackageSource } from './package-source.ts';

/** Where apt reads its lists: the host's own, or fresh ones in a folder of ours. */
interface AptLists {
  /** options that go before apt's command */
  options: string[];
}

/** What to tell a user whose host has no apt. */
const aptAdvice =
  "The default guest is made from Debian packages with apt-get, apt-cache and dpkg-deb: build it on Debian 12 or newer, or use this host's kernel (`--kernel host`), or a kernel and an initrd of your own.";

/** The host's own lists, which may be old or missing. */
export const hostSource: PackageSource = sourceOf({ options: [] }, true);

/**
 * Fetches the lists of the host's package sources into a folder, which needs no root.
 * @param arch packages of another architecture than the host's, which dpkg need not know of
 * @throws {VmError} HOST_MISSING, ABORTED; IMAGE_BUILD_FAILED with apt's words
 */
export async function freshSource(folder: string, signal?: AbortSignal, arch?: GuestArch): Promise<PackageSource> {
  const state = join(folder, 'state');
  const cache = join(folder, 'cache');
  await mkdir(join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  // What is installed here says nothing of another architecture.
  const installed = arch === undefined ? '/var/lib/dpkg/status' : join(state, 'status');
  if (arch !== undefined) await writeFile(installed, '');
  const settings = [`Dir::State=${state}`, `Dir::State::status=${installed}`, `Dir::Cache=${cache}`];
  if (arch !== undefined) settings.push(`APT::Architecture=${arch}`, `APT::Architectures=${arch}`);
  const lists = { options: settings.flatMap((option) => ['-o', option]) };
  const result = await apt('apt-get', lists, ['update'], { signal });
  if (result.exitCode !== 0) throw failed('the package lists cannot be fetched', result);
  return sourceOf(lists, false);
}

function sourceOf(lists: AptLists, mayBeOld: boolean): PackageSource {
  return {
    mayBeOld,
    find: (name, signal) => findPackage(name, lists, signal),
    download: (wanted, folder, options) => downloadPackage(wanted, folder, lists, options),
  };
}

/** In the version that apt would install. */
async function findPackage(name: string, lists: AptLists, signal?: AbortSignal): Promise<DebianPackage | undefined> {
  const result = await apt('apt-cache', lists, ['show', '--no-all-versions', name], { signal });
  if (result.exitCode !== 0) return undefined;
  const fields = new Map(result.stdout.split('\n\n', 1)[0]?.split('\n').map(splitField) ?? []);
  const [version, sha256, size] = [fields.get('Version'), fields.get('SHA256'), Number(fields.get('Size'))];
  // A package that is installed but in no list has no hash, and cannot be downloaded.
  if (fields.get('Package') !== name || version === undefined || sha256 === undefined || !Number.isSafeInteger(size))
    return undefined;
  return { name, version, depends: dependencies(fields.get('Depends') ?? ''), sha256: sha256.toLowerCase(), size };
}

/** apt names the file. */
async function downloadPackage(
  wanted: DebianPackage,
  folder: string,
  lists: AptLists,
  options: { signal?: AbortSignal | undefined; onPercent?: (percent: number) => void },
): Promise<void> {
  const onLine = (line: string): void => {
    const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
    if (percent !== undefined) options.onPercent?.(Number(percent));
  };
  const args = ['-o', 'APT::Status-Fd=1', 'download', `${wanted.name}=${wanted.version}`];
  const result = await apt('apt-get', lists, args, {
    cwd: folder,
    signal: options.signal,
    onLine,
    timeoutMs: 1_800_000,
  });
  if (result.exitCode !== 0) throw failed(`${wanted.name} ${wanted.version} cannot be downloaded`, result);
}

function apt(
  program: 'apt-get' | 'apt-cache',
  lists: AptLists,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolResult> {
  // As root apt would download as the user _apt, who may not write to our folders.
  const asRoot = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
  return runTool(program, ['-q', ...lists.options, ...asRoot, ...args], { ...options, advice: aptAdvice });
}

function splitField(line: string): [string, string] {
  const at = line.indexOf(':');
  return [line.slice(0, at), line.slice(at + 1).trim()];
}

function failed(what: string, result: ToolResult): VmError {
  const words = result.errors
    .split('\n')
    .filter((line) => /^[EW]:/.test(line))
    .slice(0, 8);
  return new VmError('IMAGE_BUILD_FAILED', `${what}: ${words.join(' ') || `apt ended with code ${result.exitCode}`}`, {
    exitCode: result.exitCode,
    log: result.errors,
    advice: 'Check the network and the package sources of this host (/etc/apt/sources.list).',
  });
}
