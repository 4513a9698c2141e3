import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { GuestArch } from '../../config/host.ts';
import { VmError } from '../../errors.ts';
import { sha256 } from '../file-record.ts';
import { architectureOf } from '../host-architecture.ts';
import type { BuildEvent, FileRecord } from '../image.ts';
import { type DebianPackage, dependencies, type PackageSource } from '../package-source.ts';
import { get, networkError, readBody, type Reply } from '../registry/http.ts';
import { isLoopback } from '../registry/reference.ts';
import { parseRelease, type Release } from './release.ts';
import { debianKeyring, requireTrust, type Trust, trustedRelease } from './trust.ts';

/** A mirror of Debian's packages, and why it is believed. */
export interface MirrorOptions {
  /** HTTPS, or HTTP on a loopback address; default `https://deb.debian.org/debian` */
  url?: string | undefined;
  /** version of Debian, such as `trixie`; default `bookworm` */
  suite?: string | undefined;
  /** SHA-256 of the suite's `Release` file, as 64 hexadecimal digits: then no signature is needed */
  sha256?: string | undefined;
  /** path of the keys of which one must have signed what the mirror says of the suite (`InRelease`); default Debian's, `/usr/share/keyrings/debian-archive-keyring.gpg` */
  keyring?: string | undefined;
}

/** A mirror as it is asked. */
interface Mirror {
  url: URL;
  suite: string;
  trust: Trust;
}

interface Scope {
  scratch: string;
  signal: AbortSignal | undefined;
  report: (event: BuildEvent) => void;
}

/** A package and where the mirror has it. */
interface ListedPackage extends DebianPackage {
  path: string;
}

const defaultUrl = 'https://deb.debian.org/debian';
const defaultSuite = 'bookworm';
const idleMs = 60_000;
const maxReleaseBytes = 1 << 20;
/** Of a list of packages, packed and unpacked: Debian's have 11 and 50 MB. */
const maxListBytes = 256 << 20;
const maxPackageBytes = 1 << 30;

const unpack = promisify(gunzip);

/** The mirror that the environment names: POLYVISOR_MIRROR, and with it POLYVISOR_MIRROR_SUITE, _SHA256 and _KEYRING. */
export function mirrorOfEnvironment(env: NodeJS.ProcessEnv = process.env): MirrorOptions | undefined {
  const read = (name: string): string | undefined => env[`POLYVISOR_MIRROR${name}`] || undefined;
  const url = read('');
  if (url === undefined) return undefined;
  return { url, suite: read('_SUITE'), sha256: read('_SHA256'), keyring: read('_KEYRING') };
}

/** @throws {VmError} INVALID_ARGUMENT for an address, a suite or a digest that is none */
export function checkedMirror(options: MirrorOptions | undefined): MirrorOptions | undefined {
  if (options !== undefined) mirrorOf(options);
  return options;
}

function mirrorOf({ url = defaultUrl, suite = defaultSuite, sha256: digest, keyring }: MirrorOptions): Mirror {
  let address: URL;
  try {
    address = new URL(url.endsWith('/') ? url : `${url}/`);
  } catch (cause) {
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(url.slice(0, 200))} is no address`, {
      field: 'mirror',
      cause,
    });
  }
  if (address.protocol !== 'https:' && !(address.protocol === 'http:' && isLoopback(address)))
    throw new VmError('INVALID_ARGUMENT', `a mirror is asked by HTTPS, not by ${address.protocol}//`, {
      field: 'mirror',
    });
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(suite))
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(suite.slice(0, 80))} is no version of Debian`, {
      field: 'suite',
    });
  if (digest === undefined) return { url: address, suite, trust: { keyring: resolve(keyring ?? debianKeyring) } };
  if (!/^[0-9a-f]{64}$/.test(digest))
    throw new VmError('INVALID_ARGUMENT', 'a SHA-256 has 64 hexadecimal digits, in lower case', { field: 'sha256' });
  return { url: address, suite, trust: { sha256: digest } };
}

/**
 * Packages of a mirror, asked by Node: nothing of it is believed but what a signature by Debian's keys, or a digest that the user named, vouches for.
 * @param without why nothing else is used, for the error
 * @param arch whose packages; default: this host's
 * @throws {VmError} HOST_MISSING when a signature could not be checked; IMAGE_BUILD_FAILED; TIMEOUT, ABORTED
 */
export async function openMirror(
  options: MirrorOptions,
  scope: Scope,
  without?: VmError,
  arch?: GuestArch,
): Promise<PackageSource> {
  const mirror = mirrorOf(options);
  await requireTrust(mirror.trust, without);
  const { signal } = scope;
  scope.report({ phase: 'resolve', message: `asking ${mirror.url.host} for the packages of ${mirror.suite}` });
  const folder = `dists/${mirror.suite}/`;
  const fetched = (name: string): Promise<Buffer> => read(mirror, `${folder}${name}`, maxReleaseBytes, signal);
  const bytes = await trustedRelease(fetched, mirror.trust, scope);
  const release = parseRelease(bytes.toString());
  requireCurrent(release, mirror);
  const list = `\n${await listOf(release, mirror, folder, architectureOf(arch).debian, signal)}`;
  return {
    mayBeOld: false,
    find: (name) => Promise.resolve(packageIn(list, name)),
    download: async (wanted, into, how) => {
      const { path } = packageIn(list, wanted.name) as ListedPackage;
      await download(mirror, path, wanted, join(into, basename(path)), how);
    },
  };
}

/** A mirror must not pass another Debian, or an old one that no longer holds, for the one that is meant. */
function requireCurrent({ suite, codename, validUntil }: Release, { suite: wanted }: Mirror): void {
  if (suite !== wanted && codename !== wanted)
    throw new VmError(
      'IMAGE_BUILD_FAILED',
      `the mirror's ${wanted} is ${codename || suite || 'nothing that has a name'}`,
    );
  if (validUntil !== undefined && validUntil < Date.now())
    throw new VmError(
      'IMAGE_BUILD_FAILED',
      `what the mirror says of ${wanted} was valid until ${new Date(validUntil).toISOString()}`,
      {
        advice: 'Take another mirror, or set the clock of this host.',
      },
    );
}

async function listOf(
  release: Release,
  mirror: Mirror,
  folder: string,
  arch: GuestArch,
  signal?: AbortSignal,
): Promise<string> {
  const place = `main/binary-${arch}/`;
  const record = release.files.get(`${place}Packages.gz`);
  if (record === undefined)
    throw new VmError('IMAGE_BUILD_FAILED', `the mirror has no packages of ${mirror.suite} for ${arch}`);
  const path = `${folder}${place}${release.byHash ? `by-hash/SHA256/${record.sha256}` : 'Packages.gz'}`;
  const bytes = await read(mirror, path, Math.min(record.size, maxListBytes), signal);
  requireSame(bytes, record, path);
  try {
    return (await unpack(bytes, { maxOutputLength: maxListBytes })).toString();
  } catch (cause) {
    throw new VmError('IMAGE_BUILD_FAILED', `${path} of the mirror can't be unpacked`, { cause });
  }
}

function requireSame(bytes: Buffer, { sha256: wanted, size }: FileRecord, path: string): void {
  const found = sha256(bytes);
  if (bytes.length === size && found === wanted) return;
  throw new VmError(
    'IMAGE_BUILD_FAILED',
    `${path} of the mirror is not what its Release file says: its SHA-256 is ${found}, not ${wanted}`,
  );
}

/** A package of a list; undefined for one that it lacks, or of which it tells too little, or a file elsewhere. */
function packageIn(list: string, name: string): ListedPackage | undefined {
  // Of a package that is listed twice the last one counts.
  const at = list.lastIndexOf(`\nPackage: ${name}\n`);
  if (at < 0) return undefined;
  const stanza = list.slice(at + 1).split('\n\n', 1)[0] ?? '';
  const fields = new Map(
    stanza.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const [version, digest, path] = [fields.get('Version'), fields.get('SHA256') ?? '', fields.get('Filename') ?? ''];
  const size = Number(fields.get('Size'));
  if (version === undefined || !/^[0-9a-f]{64}$/.test(digest)) return undefined;
  if (!/^pool\/[\w.+~:/-]+\.deb$/.test(path) || path.includes('..')) return undefined;
  if (!Number.isSafeInteger(size) || size < 1 || size > maxPackageBytes) return undefined;
  return { name, version, depends: dependencies(fields.get('Depends') ?? ''), sha256: digest, size, path };
}

async function read(mirror: Mirror, path: string, maxBytes: number, signal: AbortSignal | undefined): Promise<Buffer> {
  try {
    return await readBody(await ask(mirror, path, signal), maxBytes);
  } catch (error) {
    throw asBuildError(error);
  }
}

async function download(
  mirror: Mirror,
  path: string,
  { size, sha256: wanted }: DebianPackage,
  target: string,
  { signal, onPercent }: { signal?: AbortSignal | undefined; onPercent?: (percent: number) => void },
): Promise<void> {
  const file = await open(target, 'wx', 0o600);
  try {
    const { body, url } = await ask(mirror, path, signal);
    const hash = createHash('sha256');
    let done = 0;
    try {
      for await (const piece of body as AsyncIterable<Buffer>) {
        done += piece.length;
        if (done > size) break;
        hash.update(piece);
        await file.writeFile(piece);
        onPercent?.((done * 100) / size);
      }
    } catch (cause) {
      throw networkError(url, cause);
    }
    const found = hash.digest('hex');
    if (done !== size || found !== wanted)
      throw new VmError(
        'IMAGE_BUILD_FAILED',
        `${path} of the mirror is not what its lists say: its SHA-256 is ${found}, not ${wanted}`,
      );
  } catch (error) {
    throw asBuildError(error);
  } finally {
    await file.close();
  }
}

async function ask({ url }: Mirror, path: string, signal: AbortSignal | undefined): Promise<Reply> {
  const reply = await get(new URL(path, url), { headers: { 'user-agent': 'polyvisor' }, signal, idleMs });
  if (reply.status === 200) return reply;
  reply.body.destroy();
  throw new VmError('IMAGE_BUILD_FAILED', `${reply.url.host} answers ${reply.status} for ${path}`, {
    advice: 'Check the address of the mirror and the version of Debian.',
  });
}

/** A registry's words are a mirror's, too. */
function asBuildError(error: unknown): VmError {
  const known = VmError.from(error, 'IO');
  if (known.code !== 'IMAGE_PULL_FAILED') return known;
  return new VmError('IMAGE_BUILD_FAILED', known.rawMessage, {
    cause: error,
    advice: 'Check the network of this host, and the address of the mirror (POLYVISOR_MIRROR).',
  });
}
