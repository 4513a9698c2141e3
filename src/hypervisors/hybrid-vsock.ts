import { rm } from 'node:fs/promises';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { connectHybridVsock } from '../transports/hybrid-vsock.ts';
import { giveSocketToVmm } from './give-to-vmm.ts';
import type { GuestChannel } from './hypervisor.ts';

/** The agent's vsock port, and the host's by which it says that it listens (docs/agent-protocol.md). */
export const agentPort = 1024;
const announcePort = 1025;

/** Sessions at once: the agent takes no more. */
const sessions = 8;

/** The vsock of one guest, which its VMM ends on a unix socket: the way to the agent on Firecracker and Cloud Hypervisor. */
export class HybridVsock {
  readonly #socketPath: string;
  readonly #attempts: number;
  /** while the guest boots under this process: a connection before the agent listens would be refused */
  #announcement: Announcement | undefined;

  /**
   * @param countsAnew the VMM numbers its ends of connections anew after a restore: each session of before may have such a number in the
   *   guest for as long as the agent has not let go of it, and a connection with the same number is refused. The next one has the next number.
   */
  constructor(socketPath: string, { countsAnew = false }: { countsAnew?: boolean } = {}) {
    this.#socketPath = socketPath;
    this.#attempts = countsAnew ? sessions + 1 : 1;
  }

  /** To be called before the VMM is started: channels then wait until the agent says that it listens. */
  async expectGuest(): Promise<void> {
    this.#announcement = await Announcement.await(`${this.#socketPath}_${announcePort}`);
  }

  /** Each connection is a stream of its own. */
  channels(): readonly GuestChannel[] {
    return Array.from({ length: sessions }, (_, index) => ({
      name: `vsock.${index}`,
      showsHangup: true,
      survivesRestore: false,
      open: async (options) => {
        await this.#announced(options);
        return this.#connect(options);
      },
    }));
  }

  async #connect(options?: CallOptions): Promise<Duplex> {
    for (let left = this.#attempts; ; left--) {
      try {
        return await connectHybridVsock(this.#socketPath, agentPort, options);
      } catch (error) {
        if (left === 1 || VmError.from(error).code !== 'AGENT_GONE') throw error;
      }
    }
  }

  /** Stops waiting for the guest. May be repeated. */
  async close(): Promise<void> {
    const announcement = this.#announcement;
    this.#announcement = undefined;
    await announcement?.close();
  }

  async #announced(options: CallOptions): Promise<void> {
    if (this.#announcement === undefined) return;
    const scope = callScope('waiting for the guest agent', options);
    try {
      await scope.race(this.#announcement.heard);
    } finally {
      scope.release();
    }
    await this.close();
  }
}

/** A socket to which the VMM connects when the guest does. */
class Announcement {
  /** settles with the first connection */
  readonly heard: Promise<void>;
  readonly #server: net.Server;
  readonly #socketPath: string;

  private constructor(server: net.Server, socketPath: string) {
    this.#server = server;
    this.#socketPath = socketPath;
    this.heard = new Promise((resolve) => {
      server.on('connection', (stream) => {
        stream.destroy();
        resolve();
      });
    });
  }

  static async await(socketPath: string): Promise<Announcement> {
    const server = net.createServer();
    const announcement = new Announcement(server, socketPath);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
    // A guest that never says anything must not keep this process alive.
    server.unref();
    giveSocketToVmm(socketPath);
    return announcement;
  }

  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#socketPath, { force: true });
  }
}
