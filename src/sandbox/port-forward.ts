import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import net from 'node:net';
import { type Duplex, pipeline } from 'node:stream';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { deferred } from '../guest/deferred.ts';

/** Connections that one forward serves at once; more are closed. */
const maxConnections = 128;

/** Where connections are taken on this host, and to which server in the guest they go. */
export interface PortForwardOptions {
  /** IP address of this host to listen on; default 127.0.0.1, so that no other machine can connect */
  hostAddress?: string | undefined;
  /** default 0: any port that is free */
  hostPort?: number | undefined;
  /** path of a unix socket to listen on instead, for this user only */
  hostPath?: string | undefined;
  /** the server's address inside the guest; default 127.0.0.1 */
  guestAddress?: string | undefined;
  guestPort?: number | undefined;
  /** path of the server's unix socket inside the guest instead */
  guestPath?: string | undefined;
}

/** A port of this host whose connections go to a server in a guest. */
export interface PortForward extends AsyncDisposable {
  /** where it listens: an IP address, or the path of a unix socket */
  readonly hostAddress: string;
  /** the port that was given or chosen; undefined with a unix socket */
  readonly hostPort: number | undefined;
  /** the server in the guest, as for `dial` */
  readonly guest: string;
  /** Settles when nothing is forwarded any more: with why, or undefined after `close()`. Never rejects. */
  readonly closed: Promise<VmError | undefined>;
  /** Stops listening and breaks off what is connected. */
  close(): Promise<void>;
}

/**
 * Listens on this host until it is closed or the session with the guest ends. A client whose server in the guest does not answer is
 * refused (its connection is reset); the forward goes on.
 * @throws {VmError} INVALID_ARGUMENT, BUSY when the port is in use, PERMISSION, IO, AGENT_GONE
 */
export async function forwardPort(agent: GuestAgent, options: PortForwardOptions): Promise<PortForward> {
  const { guest, listen } = checked(options);
  const clients = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client)).on('error', () => {});
    void connectThrough(agent, client, guest);
  });
  server.maxConnections = maxConnections;
  const at = await listening(server, listen);

  const closed = deferred<VmError | undefined>();
  let closing: Promise<void> | undefined;
  const close = (reason: VmError | undefined): Promise<void> => {
    closing ??= new Promise((resolve) => {
      server.close(() => {
        closed.resolve(reason);
        resolve();
      });
      for (const client of clients) client.destroy();
    });
    return closing;
  };
  const agentClosed = (error: VmError | undefined): void =>
    void close(error ?? new VmError('AGENT_GONE', 'the session with the guest agent was closed'));
  void agent.closed.then(agentClosed);
  return {
    hostAddress: at.address,
    hostPort: at.port,
    guest,
    closed: closed.promise,
    close: () => close(undefined),
    [Symbol.asyncDispose]: () => close(undefined),
  };
}

async function connectThrough(agent: GuestAgent, client: net.Socket, guest: string): Promise<void> {
  let stream: Duplex;
  try {
    stream = await agent.dial(guest);
  } catch {
    // What a client of a port sees when nobody listens there. It is the client's to hear, and the next one may find a server.
    client.resetAndDestroy();
    return;
  }
  // A client that breaks off breaks off in the guest too, and the other way round; the end of one direction is passed on as such.
  pipeline(client, stream, (error) => void (error && client.destroy()));
  pipeline(stream, client, (error) => void (error && stream.destroy()));
}

async function listening(
  server: net.Server,
  listen: net.ListenOptions,
): Promise<{ address: string; port: number | undefined }> {
  try {
    server.listen(listen);
    await once(server, 'listening');
    if (listen.path !== undefined) await chmod(listen.path, 0o600);
  } catch (cause) {
    server.close();
    throw listenError(listen, cause as NodeJS.ErrnoException);
  }
  const at = server.address();
  if (at === null || typeof at === 'string') return { address: String(at), port: undefined };
  return at;
}

function listenError(listen: net.ListenOptions, cause: NodeJS.ErrnoException): VmError {
  const where = listen.path ?? `${listen.host} port ${listen.port}`;
  const facts = { operation: 'forwardPort', errno: cause.code, cause };
  if (cause.code === 'EADDRINUSE') {
    const advice = 'Choose another one, or port 0 for any that is free.';
    return new VmError('BUSY', `${where} is in use on this host`, { ...facts, advice });
  }
  if (cause.code === 'EACCES') return new VmError('PERMISSION', `may not listen on ${where}: ${cause.message}`, facts);
  if (cause.code === 'EADDRNOTAVAIL' || cause.code === 'EINVAL')
    return new VmError('INVALID_ARGUMENT', `this host can't listen on ${where}: ${cause.message}`, facts);
  return new VmError('IO', `cannot listen on ${where}: ${cause.message}`, facts);
}

/** @throws {VmError} INVALID_ARGUMENT */
function checked(options: PortForwardOptions): { guest: string; listen: net.ListenOptions } {
  const { hostAddress, hostPort, hostPath, guestAddress, guestPort, guestPath } = options;
  if (hostPath !== undefined && (hostAddress !== undefined || hostPort !== undefined))
    throw wrong('hostPath', 'cannot be combined with hostAddress and hostPort');
  if (guestPath !== undefined && (guestAddress !== undefined || guestPort !== undefined))
    throw wrong('guestPath', 'cannot be combined with guestAddress and guestPort');
  if (guestPath === undefined && guestPort === undefined) throw wrong('guestPort', 'is missing');
  checkPort('hostPort', hostPort, 0);
  checkPort('guestPort', guestPort, 1);
  if (hostAddress !== undefined && net.isIP(hostAddress) === 0)
    throw wrong('hostAddress', `must be an IP address, not ${JSON.stringify(hostAddress)}`);
  const listen =
    hostPath === undefined ? { host: hostAddress ?? '127.0.0.1', port: hostPort ?? 0 } : { path: hostPath };
  if (guestPath !== undefined) return { guest: `unix:${guestPath}`, listen };
  const host = guestAddress ?? '127.0.0.1';
  return { guest: `tcp:${net.isIPv6(host) ? `[${host}]` : host}:${guestPort}`, listen };
}

function checkPort(field: string, port: number | undefined, least: number): void {
  if (port !== undefined && !(Number.isInteger(port) && port >= least && port <= 65_535))
    throw wrong(field, `must be a port from ${least} to 65535, not ${JSON.stringify(port)}`);
}

function wrong(field: string, problem: string): VmError {
  return new VmError('INVALID_ARGUMENT', `${field} ${problem}`, { operation: 'forwardPort', field });
}
