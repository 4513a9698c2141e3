import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { isAlive, ownIdentity, type ProcessIdentity } from '../state/process-identity.ts';
import type { RecordedPort, VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import type { HeldVm } from './held-vm.ts';
import { forwardPort, type PortForward, type PortForwardOptions } from './port-forward.ts';
import { statusOf } from './status.ts';

/** A port of this host that leads into a guest. */
export interface PublishedPort {
  /** an IP address, or the path of a unix socket */
  hostAddress: string;
  /** absent with a unix socket */
  hostPort?: number | undefined;
  /** the server in the guest: `tcp:HOST:PORT` or `unix:/path` */
  guest: string;
  /** process id of who listens */
  pid: number;
}

/** Forwards a port from this process, and has it listed for as long as that lasts. */
export async function servePort(held: HeldVm, agent: GuestAgent, options: PortForwardOptions): Promise<PortForward> {
  await held.locate();
  const forward = await forwardPort(agent, options);
  const port = { ...entryOf(forward), server: ownIdentity() };
  try {
    await held.store.update(held, ({ ports = [] }) => ({ ports: [...living(ports), port] }));
  } catch (error) {
    await forward.close();
    throw error;
  }
  const unlist = async (): Promise<void> => {
    // The VM may be gone, and the entry with it; one that stays is told from a living one by its process.
    await held.store
      .update(held, ({ ports = [] }) => ({ ports: living(ports).filter((it) => !isSame(it, port)) }))
      .catch(ignoreGone);
  };
  const closed = forward.closed.then(async (reason) => {
    await unlist();
    return reason;
  });
  const close = async (): Promise<void> => {
    await forward.close();
    await closed;
  };
  return { ...forward, closed, close, [Symbol.asyncDispose]: close };
}

/** What is listening now for a VM. */
export function publishedPorts(record: VmRecord): PublishedPort[] {
  const status = statusOf(record);
  if (status !== 'running' && status !== 'paused') return [];
  return living(record.ports ?? []).map(({ server, ...port }) => ({ ...port, pid: server.pid }));
}

/**
 * The ports of this host that lead into a VM.
 * @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME, NOT_RUNNING
 */
export async function portsOf(name: string): Promise<PublishedPort[]> {
  const record = await new VmStore().read(validateName(name));
  const status = statusOf(record);
  if (status !== 'running' && status !== 'paused')
    throw new VmError('NOT_RUNNING', `${name} is ${status}`, { name, hypervisor: record.hypervisor });
  return publishedPorts(record);
}

function entryOf({ hostAddress, hostPort, guest }: PortForward): Omit<RecordedPort, 'server'> {
  return { hostAddress, guest, ...(hostPort === undefined ? {} : { hostPort }) };
}

function living(ports: readonly RecordedPort[]): RecordedPort[] {
  return ports.filter(({ server }) => isAlive(server));
}

function isSame(a: RecordedPort, b: RecordedPort): boolean {
  return a.hostAddress === b.hostAddress && a.hostPort === b.hostPort && samePid(a.server, b.server);
}

function samePid(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.startTime === b.startTime;
}

function ignoreGone(error: unknown): void {
  const { code } = VmError.from(error);
  if (code !== 'NOT_FOUND' && code !== 'STATE_INVALID') throw error;
}
