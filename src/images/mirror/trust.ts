import { access, constants, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../../errors.ts';
import { sha256 } from '../file-record.ts';
import { runTool } from '../host-tool.ts';

/** Where Debian's package debian-archive-keyring, and those of other distributions, have the keys. */
export const debianKeyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** By what a `Release` file is told from a forged one: its digest, or a signature by one of these keys. */
export type Trust = { sha256: string } | { keyring: string };

/** What to tell who has neither. */
const trustAdvice =
  "Install gpgv and Debian's keys (the packages gpgv or gnupg2, and debian-archive-keyring or debian-keyring), name the digest of the mirror's Release file (`--mirror-sha256`), or use this host's kernel (`--kernel host`).";

/**
 * Makes sure that a signature can be checked, before anything is asked of a mirror.
 * @throws {VmError} HOST_MISSING without gpgv or the keys
 */
export async function requireTrust(trust: Trust, without: VmError | undefined): Promise<void> {
  if ('sha256' in trust) return;
  const why = without === undefined ? '' : `${without.rawMessage}, and `;
  const missing = (what: string, cause: unknown): VmError =>
    new VmError('HOST_MISSING', `${why}what a mirror says can't be checked: ${what}`, { advice: trustAdvice, cause });
  await access(trust.keyring, constants.R_OK).catch((cause: unknown) => {
    throw missing(`there are no keys in ${trust.keyring}`, cause);
  });
  await runTool('gpgv', ['--version']).catch((cause: unknown) => {
    throw missing('this host has no program gpgv', cause);
  });
}

const begin = '-----BEGIN PGP SIGNED MESSAGE-----\n';
const end = /\n-----END PGP SIGNATURE-----\n*$/;

/**
 * What Debian, or whoever named its digest, says of a suite.
 * @param read gets a file of the suite from the mirror: `InRelease`, which holds its signature, or `Release`, which has the digest
 * @throws {VmError} IMAGE_BUILD_FAILED, and what `read` throws
 */
export async function trustedRelease(
  read: (name: string) => Promise<Buffer>,
  trust: Trust,
  { scratch, signal }: { scratch: string; signal?: AbortSignal | undefined },
): Promise<Buffer> {
  if ('sha256' in trust) {
    const release = await read('Release');
    const found = sha256(release);
    if (found === trust.sha256) return release;
    throw new VmError(
      'IMAGE_BUILD_FAILED',
      `the mirror's Release file is not the one that was named: its SHA-256 is ${found}`,
      { advice: 'A mirror changes it with each point release; those of https://snapshot.debian.org stay.' },
    );
  }
  const signed = await read('InRelease');
  const text = signed.toString('latin1');
  // One message and nothing beside it, so that nothing unsigned can be taken for signed.
  if (!text.startsWith(begin) || text.lastIndexOf(begin) !== 0 || !end.test(text))
    throw new VmError('IMAGE_BUILD_FAILED', "the mirror's InRelease file is no signed message");
  const folder = await mkdtemp(join(scratch, 'release-'));
  const [file, content] = [join(folder, 'InRelease'), join(folder, 'Release')];
  await writeFile(file, signed);
  const argv = ['--homedir', folder, '--keyring', trust.keyring, '--output', content, file];
  const { exitCode, errors } = await runTool('gpgv', argv, { signal });
  if (exitCode === 0) return readFile(content);
  throw new VmError('IMAGE_BUILD_FAILED', "the mirror's InRelease file has no good signature of Debian", {
    exitCode,
    log: errors,
    advice: `The keys are those in ${trust.keyring}: newer ones may be needed for a newer Debian.`,
  });
}
