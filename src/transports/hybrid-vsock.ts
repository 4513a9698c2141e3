import type { Duplex } from 'node:stream';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { connectUnix } from './unix-socket.ts';

/** `OK `, a port, a line feed. */
const maxReplyBytes = 32;

/**
 * Connects to a port of a guest whose vsock the VMM ends on a unix socket: `CONNECT port`, answered by `OK hostPort`
 * (Firecracker, docs/vsock.md; Cloud Hypervisor serves the same).
 * @throws {VmError} AGENT_GONE when nobody in the guest listens on the port; VMM_GONE when nobody serves the socket; TIMEOUT, ABORTED
 */
export async function connectHybridVsock(socketPath: string, port: number, options: CallOptions = {}): Promise<Duplex> {
  const scope = callScope(`connecting to vsock port ${port}`, {
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? 30_000,
  });
  try {
    const socket = await connectUnix(socketPath, { signal: scope.signal, mustExist: true });
    try {
      socket.write(`CONNECT ${port}\n`);
      const reply = await scope.race(readLine(socket));
      if (/^OK \d+$/.test(reply)) return socket;
      throw new VmError('AGENT_PROTOCOL', `the VMM answered the vsock connection with ${JSON.stringify(reply)}`);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  } finally {
    scope.release();
  }
}

/** The first line, and not a byte more: what follows belongs to the connection. */
function readLine(socket: Duplex): Promise<string> {
  return new Promise((resolve, reject) => {
    let line = '';
    const settle = (act: () => void): void => {
      socket.removeListener('readable', read);
      socket.removeListener('end', gone);
      socket.removeListener('close', gone);
      socket.removeListener('error', gone);
      act();
    };
    const gone = (error?: Error): void =>
      settle(() => reject(new VmError('AGENT_GONE', 'nobody listens on this port of the guest', { cause: error })));
    const read = (): void => {
      for (let byte = socket.read(1) as Buffer | null; byte !== null; byte = socket.read(1) as Buffer | null) {
        const character = byte.toString('latin1');
        if (character === '\n') return settle(() => resolve(line));
        line += character;
        if (line.length > maxReplyBytes)
          return settle(() => reject(new VmError('AGENT_PROTOCOL', 'the VMM does not speak hybrid vsock')));
      }
    };
    socket.on('readable', read);
    socket.once('end', gone);
    socket.once('close', gone);
    socket.once('error', gone);
    read();
  });
}
