import { createWriteStream } from 'node:fs';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { assetPath } from '../config/assets.ts';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { checkImageName } from '../images/roots/image-name.ts';
import { type ImportEvent, importRoot } from '../images/roots/import.ts';
import type { RootConfig, RootImage } from '../images/roots/root-image.ts';
import { withScratch } from '../images/roots/root-store.ts';
import { places } from '../state/paths.ts';
import type { HeldVm } from './held-vm.ts';

/** How an image is made of a VM. */
export interface CommitOptions extends CallOptions {
  /** what the image says of its commands, where that is to differ from what the VM's own image says */
  config?: Partial<RootConfig> | undefined;
  /** bytes of all files at most; default 64 GiB */
  maxBytes?: number | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
}

const defaultMaxBytes = 64 * 2 ** 30;
/** A file takes as much in an archive beside its content, at least. */
const archiveRest = 2 ** 30;

/**
 * Makes an image of a running VM's root file system: its image with what was written above it, without what is mounted there. Its commands
 * stand still meanwhile. What the guest sends is checked as every archive is.
 * @throws {VmError} INVALID_NAME, IMAGE_INVALID, COPY_LIMIT, UNSUPPORTED on a guest that is this host, or whose agent can't; AGENT_GONE, AGENT_FAILED,
 *   IO, TIMEOUT, ABORTED
 */
export async function commitVm(
  held: HeldVm,
  agent: GuestAgent,
  name: string,
  options: CommitOptions,
): Promise<RootImage> {
  checkImageName(name);
  const { config, maxBytes = defaultMaxBytes, onEvent, ...limits } = options;
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1)
    throw new VmError('INVALID_ARGUMENT', 'maxBytes must be a whole number of bytes from 1 on', { field: 'maxBytes' });
  const { bootsGuest } = await loadDriver(held.hypervisor.type);
  if (!bootsGuest && assetPath(held.context.config, 'image') === undefined)
    throw new VmError('UNSUPPORTED', `${held.name} has no root file system of its own: its guest is this host`, {
      operation: 'commit',
    });
  const store = places().roots;
  const scope = callScope(`commit of ${held.name}`, limits);
  const { signal } = scope;
  try {
    return await withScratch(store, async (scratch) => {
      const source = path.join(scratch, 'guest.tar');
      const message = `reading ${held.name}`;
      const { skipped, firstSkipped } = await receive(agent, source, {
        maxBytes: maxBytes + archiveRest,
        signal,
        onBytes: (done) => onEvent?.({ phase: 'read', message, done }),
      });
      if (skipped > 0)
        onEvent?.({ phase: 'read', message: `${skipped} devices are left out, such as ${firstSkipped}` });
      return importRoot({
        store,
        source,
        name,
        asRoot: true,
        arch: held.context.config.arch,
        config: { ...held.imageConfig, ...config },
        identity: `VM ${held.name}`,
        maxBytes,
        signal,
        onEvent: (event) => event.phase !== 'read' && onEvent?.(event),
      });
    });
  } catch (error) {
    scope.throwIfEnded();
    throw VmError.from(error).with({ name: held.name, operation: 'commit' });
  } finally {
    scope.release();
  }
}

/** Takes the guest's archive into a file. */
async function receive(
  agent: GuestAgent,
  file: string,
  { maxBytes, signal, onBytes }: { maxBytes: number; signal: AbortSignal; onBytes: (done: number) => void },
): Promise<{ skipped: number; firstSkipped: string }> {
  const archive = agent.getFiles('/', { image: true, signal });
  // What it fails with is told by the stream as well.
  archive.done.catch(() => undefined);
  let done = 0;
  const bounded = new Transform({
    transform(piece: Buffer, _encoding, next) {
      done += piece.length;
      onBytes(done);
      if (done <= maxBytes) next(null, piece);
      else next(new VmError('COPY_LIMIT', `the guest's root holds more than ${maxBytes} bytes`));
    },
  });
  await pipeline(archive.stream, bounded, createWriteStream(file, { flags: 'wx', mode: 0o600 })).catch(
    (cause: unknown) => {
      throw VmError.from(cause, 'IO', { path: file });
    },
  );
  return archive.done;
}
