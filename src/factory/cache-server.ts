import { rm, stat } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { VmError } from '../errors.ts';
import { type GrpcServer, type GrpcStatus, type GrpcVm, type GrpcVmConfig, loadService } from './cache-service.ts';

/** What a cache server does when it is asked. */
export interface CacheHandlers {
  config(): Promise<GrpcVmConfig>;
  /** @param signal comes when the client is gone before it was answered */
  getBaseVm(signal: AbortSignal): Promise<GrpcVm>;
  status(): Promise<GrpcStatus>;
  quit(): void;
}

/** A server that listens. */
export interface CacheServer {
  readonly endpoint: string;
  /** Answers who is being answered, and then nobody; removes the socket. May be repeated. */
  close(): Promise<void>;
}

/** Bytes of a unix socket's path (unix(7)). */
const maxPathBytes = 107;

/**
 * Serves a cache on a unix socket that only this user may use. A socket that a dead server left is replaced.
 * @throws {VmError} BUSY when a server listens there; INVALID_ARGUMENT for a path that is not absolute, or too long; FILE_INVALID when something
 *   else is there; IO
 */
export async function serveCache(endpoint: string, handlers: CacheHandlers): Promise<CacheServer> {
  requireEndpoint(endpoint);
  await freePath(endpoint);
  const { grpc, service } = await loadService();
  const server = new grpc.Server();
  const unary =
    <T>(answer: (signal: AbortSignal) => Promise<T>) =>
    (call: ServerUnaryCall<unknown, T>, reply: sendUnaryData<T>): void => {
      const gone = new AbortController();
      call.on('cancelled', () => gone.abort());
      answer(gone.signal).then(
        (value) => reply(null, value),
        (error: unknown) => reply({ code: grpc.status.UNKNOWN, details: written(VmError.from(error)) }),
      );
    };
  server.addService(service, {
    Config: unary(handlers.config),
    GetBaseVM: unary(handlers.getBaseVm),
    Status: unary(handlers.status),
    Quit: unary(async () => {
      handlers.quit();
      return {};
    }),
  });
  await bind(server, endpoint, grpc.ServerCredentials.createInsecure());
  let closing: Promise<void> | undefined;
  return { endpoint, close: () => (closing ??= close(server, endpoint)) };
}

/** @throws {VmError} INVALID_ARGUMENT */
export function requireEndpoint(endpoint: string): void {
  if (typeof endpoint === 'string' && path.isAbsolute(endpoint) && Buffer.byteLength(endpoint) <= maxPathBytes) return;
  throw new VmError('INVALID_ARGUMENT', `the endpoint must be an absolute path of at most ${maxPathBytes} bytes`, {
    path: endpoint,
    field: 'endpoint',
  });
}

/** An error as it goes over the wire. */
function written({ code, rawMessage, facts }: VmError): string {
  const { name, path: file, field, advice } = facts;
  return JSON.stringify({ code, message: rawMessage, facts: { name, path: file, field, advice } });
}

async function bind(
  server: GrpcServer,
  endpoint: string,
  credentials: Parameters<GrpcServer['bindAsync']>[1],
): Promise<void> {
  // Nobody else may connect, from its first moment on.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${endpoint}`, credentials, (error) => (error === null ? resolve() : reject(error)));
    });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: endpoint });
  } finally {
    process.umask(before);
  }
}

async function close(server: GrpcServer, endpoint: string): Promise<void> {
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  await rm(endpoint, { force: true });
}

async function freePath(endpoint: string): Promise<void> {
  const found = await stat(endpoint).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw VmError.from(error, 'IO', { path: endpoint });
  });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new VmError('FILE_INVALID', `${endpoint} is no socket`, { path: endpoint, advice: 'Name another path.' });
  if (await answers(endpoint))
    throw new VmError('BUSY', `a server listens on ${endpoint} already`, {
      path: endpoint,
      advice: 'End it with `polyvisor factory destroy --cache`, or name another path.',
    });
  await rm(endpoint, { force: true });
}

/** Whether a process listens on a socket. */
async function answers(endpoint: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ path: endpoint });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
