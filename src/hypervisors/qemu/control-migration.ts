import { rm } from 'node:fs/promises';
import { once } from 'node:events';
import net from 'node:net';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { fileToStream, type Passed, streamToFile } from '../../transports/file-stream.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { QmpEvent } from '../../transports/qmp/messages.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { SaveOptions } from '../hypervisor.ts';
import { giveSocketToVmm } from '../give-to-vmm.ts';
import { requireFree } from '../move-file.ts';
import type { MigrationInfo } from './wire.ts';

/** What goes through the stream. */
export interface MigrationScope {
  /** memory that is shared with a file stays there; only all else is in the stream */
  withoutSharedMemory: boolean;
}

/** Bytes a second: no limit that a host could reach. QEMU's own is for networks (128 MiB). */
const bandwidth = 2 ** 40;
/** Milliseconds that QEMU gets to give up a migration that was cancelled. */
const cancelMs = 10_000;

/**
 * Has a paused VM write its memory and devices into a file. QEMU's sandbox forbids it to run a program that would do so; it connects to a
 * socket of ours instead. When anything fails, or the caller gives up, the migration is cancelled and the file removed: the VM is as it was.
 * @param socketPath a free name in the VMM's folder
 * @throws {VmError} VMM_FAILED with QEMU's reason, at once; IO, also when the file is there; ABORTED, TIMEOUT, VMM_GONE
 */
export async function migrateToFile(
  qmp: QmpClient,
  socketPath: string,
  file: string,
  { onProgress = () => undefined, withoutSharedMemory, ...call }: SaveOptions & MigrationScope,
): Promise<Passed> {
  await requireFree(file);
  await prepare(qmp, { withoutSharedMemory }, call);
  // What a process left that was killed: nobody else is here, under the monitor's lock.
  await rm(socketPath, { force: true });
  const server = net.createServer();
  const connections: net.Socket[] = [];
  server.on('connection', (socket) => connections.push(socket));
  server.listen(socketPath);
  await once(server, 'listening');
  // A rejection that comes while something else is waited for is seen when it is its turn.
  const ended = migrationEnd(qmp, call);
  ended.catch(() => undefined);
  try {
    giveSocketToVmm(socketPath);
    const connected = once(server, 'connection') as Promise<[net.Socket]>;
    await qmp.execute('migrate', { uri: `unix:${socketPath}` }, call);
    const [socket] = await Promise.race([connected, ended.then(neverConnected)]);
    const [passed] = await Promise.all([streamToFile(socket, file, onProgress), ended]);
    return passed;
  } catch (error) {
    for (const socket of connections) socket.destroy();
    await cancel(qmp);
    // Another one's, that came in between, stays.
    if (VmError.from(error).facts.errno !== 'EEXIST') await rm(file, { force: true });
    throw error;
  } finally {
    server.close();
    await rm(socketPath, { force: true });
  }
}

/**
 * Feeds a QEMU that was started with `-incoming defer` from such a file. Resolves when the VM is as it was, paused.
 * @throws {VmError} VMM_FAILED, VMM_GONE, FILE_*, ABORTED, TIMEOUT
 */
export async function migrateFromFile(
  qmp: QmpClient,
  socketPath: string,
  file: string,
  { withoutSharedMemory, ...call }: CallOptions & { signal: AbortSignal } & MigrationScope,
): Promise<Passed> {
  await prepare(qmp, { withoutSharedMemory }, call);
  const ended = migrationEnd(qmp, call);
  ended.catch(() => undefined);
  await qmp.execute('migrate-incoming', { uri: `unix:${socketPath}` }, call);
  const socket = await connectUnix(socketPath, call);
  try {
    const broken = once(socket, 'error').then(([error]: unknown[]) => {
      throw VmError.from(error, 'VMM_FAILED');
    });
    broken.catch(() => undefined);
    const [passed] = await Promise.race([Promise.all([fileToStream(file, socket, call.signal), ended]), broken]);
    return passed;
  } finally {
    socket.destroy();
    await rm(socketPath, { force: true });
  }
}

/**
 * Feeds a QEMU that listens by itself. Resolves when it has read all of it, and lets the guest go on.
 * @throws {VmError} VMM_GONE, ABORTED, TIMEOUT
 */
export async function feed(socketPath: string, stream: Uint8Array, call: CallOptions): Promise<void> {
  const socket = await connectUnix(socketPath, call);
  try {
    socket.resume().end(stream);
    await once(socket, 'close', { signal: call.signal });
  } catch (error) {
    throw VmError.from(error, 'VMM_GONE');
  } finally {
    socket.destroy();
    await rm(socketPath, { force: true });
  }
}

async function prepare(qmp: QmpClient, { withoutSharedMemory }: MigrationScope, call: CallOptions): Promise<void> {
  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'x-ignore-shared', state: withoutSharedMemory },
  ];
  await qmp.execute('migrate-set-capabilities', { capabilities }, call);
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth }, call);
}

/** Resolves when the migration that comes has succeeded. */
async function migrationEnd(qmp: QmpClient, call: CallOptions): Promise<void> {
  const { data } = await qmp.nextEvent((event) => isEnd(event), { signal: call.signal });
  if (data['status'] === 'completed') return;
  const { 'error-desc': reason } = await qmp.execute<MigrationInfo>('query-migrate', undefined, call);
  throw new VmError(
    'VMM_FAILED',
    `the migration ${String(data['status'])}${reason === undefined ? '' : `: ${reason}`}`,
    {
      operation: 'save',
    },
  );
}

function isEnd({ event, data }: QmpEvent): boolean {
  return event === 'MIGRATION' && ['completed', 'failed', 'cancelled'].includes(String(data['status']));
}

function neverConnected(): never {
  throw new VmError('VMM_FAILED', 'the migration ended before it began', { operation: 'save' });
}

/** Leaves no migration under way: the next one would be refused. */
async function cancel(qmp: QmpClient): Promise<void> {
  const { status } = await qmp.execute<MigrationInfo>('query-migrate', undefined, { timeoutMs: cancelMs });
  if (status === undefined || ['none', 'completed', 'failed', 'cancelled'].includes(status)) return;
  const ended = qmp.nextEvent((event) => isEnd(event), { timeoutMs: cancelMs });
  ended.catch(() => undefined);
  await qmp.execute('migrate_cancel', undefined, { timeoutMs: cancelMs });
  await ended;
}
