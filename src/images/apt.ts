import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { runTool, type ToolOptions, type ToolResult } from './host-tool.ts';

/** A Debian package as the lists describe it. */
export interface AptPackage {
  name: string;
  version: string;
  /** names that it depends on, versions and alternatives left out */
  depends: string[];
  sha256: string;
  size: number;
}

/** Where apt reads its lists: the host's own, or fresh ones in a folder of ours. */
export interface AptLists {
  /** options that go before apt's command */
  options: string[];
}

/** What to tell a user whose host has no apt. */
export const aptAdvice =
  "The default guest is made from Debian packages with apt-get, apt-cache and dpkg-deb: build it on Debian 12 or newer, or use this host's kernel (`--kernel host`), or a kernel and an initrd of your own.";

export const hostLists: AptLists = { options: [] };

/**
 * Fetches the lists of the host's package sources into a folder, which needs no root.
 * @throws {VmError} HOST_MISSING, ABORTED; IMAGE_BUILD_FAILED with apt's words
 */
export async function fetchLists(folder: string, signal?: AbortSignal): Promise<AptLists> {
  const state = join(folder, 'state');
  const cache = join(folder, 'cache');
  await mkdir(join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  const options = [`Dir::State=${state}`, 'Dir::State::status=/var/lib/dpkg/status', `Dir::Cache=${cache}`].flatMap(
    (option) => ['-o', option],
  );
  const lists = { options };
  const result = await apt('apt-get', lists, ['update'], { signal });
  if (result.exitCode !== 0) throw failed('the package lists cannot be fetched', result);
  return lists;
}

/**
 * Looks a package up, in the version that apt would install.
 * @returns undefined when the lists don't have it
 * @throws {VmError} HOST_MISSING, ABORTED, IMAGE_BUILD_FAILED
 */
export async function findPackage(
  name: string,
  lists: AptLists,
  signal?: AbortSignal,
): Promise<AptPackage | undefined> {
  const result = await apt('apt-cache', lists, ['show', '--no-all-versions', name], { signal });
  if (result.exitCode !== 0) return undefined;
  const fields = new Map(result.stdout.split('\n\n', 1)[0]?.split('\n').map(splitField) ?? []);
  const [version, sha256, size] = [fields.get('Version'), fields.get('SHA256'), Number(fields.get('Size'))];
  // A package that is installed but in no list has no hash, and cannot be downloaded.
  if (fields.get('Package') !== name || version === undefined || sha256 === undefined || !Number.isSafeInteger(size))
    return undefined;
  return { name, version, depends: dependencies(fields.get('Depends') ?? ''), sha256: sha256.toLowerCase(), size };
}

/**
 * Downloads a package into a folder, which must be empty; apt names the file.
 * @param onPercent told how far the download is, 0 to 100
 * @throws {VmError} HOST_MISSING, ABORTED; IMAGE_BUILD_FAILED with apt's words
 */
export async function downloadPackage(
  wanted: AptPackage,
  folder: string,
  lists: AptLists,
  options: { signal?: AbortSignal | undefined; onPercent?: (percent: number) => void } = {},
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

function dependencies(text: string): string[] {
  return text.split(',').flatMap((item) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(item)?.[1] ?? []);
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
