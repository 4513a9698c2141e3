import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { hostArchitecture } from '../host-architecture.ts';
import { runTool } from '../host-tool.ts';
import { checkImageName } from './image-name.ts';
import { type ImportEvent, importRoot } from './import.ts';
import type { RootImage } from './root-image.ts';
import { withScratch } from './root-store.ts';

/** What an image of packages is made of. */
export interface PackageBuildOptions {
  /** folder of the store; made when it isn't there */
  store: string;
  name: string;
  /** names of Debian packages; what they need comes along, and what every Debian has */
  packages: readonly string[];
  /** version of Debian, such as `bookworm`; by default the host's, or `stable` on a host that is no Debian */
  suite?: string | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Debian policy 5.6.7: two characters at least, no comma among them. */
const packagePattern = /^[a-z0-9][a-z0-9+.-]+$/;
const suitePattern = /^[a-z][a-z0-9-]{0,63}$/;
const buildMs = 3_600_000;

/**
 * Makes a root image of Debian packages by mmdebstrap(1): as root, or in a user namespace of an ordinary user. Nothing is left when it fails.
 * @throws {VmError} INVALID_NAME, INVALID_ARGUMENT; HOST_MISSING without mmdebstrap; IMAGE_BUILD_FAILED with its words; IO, ABORTED
 */
export async function buildRoot(options: PackageBuildOptions): Promise<RootImage> {
  const { store, packages, signal, onEvent } = options;
  const name = checkImageName(options.name);
  if (packages.length === 0) throw new VmError('INVALID_ARGUMENT', 'no packages are named', { field: 'packages' });
  for (const it of packages)
    if (!packagePattern.test(it))
      throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(it.slice(0, 80))} is no name of a Debian package`, {
        field: 'packages',
      });
  const suite = options.suite ?? (await hostSuite());
  if (!suitePattern.test(suite))
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(suite.slice(0, 80))} is no version of Debian`, {
      field: 'suite',
    });
  return withScratch(store, async (scratch) => {
    onEvent?.({ phase: 'read', message: `installing ${packages.join(', ')} (mmdebstrap, ${suite})` });
    const archive = path.join(scratch, 'packages.tar');
    const argv = [
      '--variant=minbase',
      '--format=tar',
      `--architectures=${hostArchitecture().debian}`,
      `--include=${packages.join(',')}`,
      // No image needs the lists of packages as they were then, nor the packages themselves.
      '--aptopt=APT::Install-Recommends "false"',
      suite,
      archive,
    ];
    const { exitCode, errors } = await runTool('mmdebstrap', argv, {
      signal,
      timeoutMs: buildMs,
      endWith: 'SIGTERM',
      advice: 'Install the package mmdebstrap.',
    });
    if (exitCode !== 0)
      throw new VmError('IMAGE_BUILD_FAILED', `mmdebstrap failed: ${firstError(errors)}`, { exitCode, log: errors });
    return importRoot({ store, source: archive, name, signal, onEvent });
  });
}

/** The codename of the host's Debian. */
async function hostSuite(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const fields = new Map(
    text.split('\n').map((line) => [line.split('=', 1)[0] ?? '', line.replace(/^[^=]*=/, '').replaceAll('"', '')]),
  );
  return fields.get('ID') === 'debian' ? (fields.get('VERSION_CODENAME') ?? 'stable') : 'stable';
}

/** The first of its errors says what happened; the later ones that it happened. */
function firstError(errors: string): string {
  return /^E: (.*)$/m.exec(errors)?.[1]?.slice(0, 300) ?? 'it says nothing';
}
