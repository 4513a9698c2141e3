import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { connectAgent } from '../guest/native/agent.ts';
import type { GuestChannel } from '../hypervisors/hypervisor.ts';
import { type HeldLock, tryLock } from '../state/lock.ts';

/** A session with a guest's agent, and the lock of the channel that it uses. */
export interface AgentLink {
  readonly agent: GuestAgent;
  close(): Promise<void>;
}

/**
 * Takes a free channel and opens a session on it: each channel serves one client, and a second one would hear nothing.
 * @throws {VmError} BUSY when every channel is taken, TIMEOUT, ABORTED, AGENT_GONE, AGENT_PROTOCOL
 */
export async function linkAgent(
  stateFolder: string,
  channels: readonly GuestChannel[],
  options: CallOptions,
): Promise<AgentLink> {
  const { channel, held } = await takeChannel(stateFolder, channels);
  const scope = callScope('connecting to the guest agent', options);
  try {
    const stream = await channel.open({ signal: scope.signal });
    try {
      const agent = await connectAgent(stream, { signal: scope.signal, showsHangup: channel.showsHangup });
      return {
        agent,
        close: async () => {
          await agent.close();
          await held.release();
        },
      };
    } catch (error) {
      stream.destroy();
      throw error;
    }
  } catch (error) {
    await held.release();
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}

async function takeChannel(
  stateFolder: string,
  channels: readonly GuestChannel[],
): Promise<{ channel: GuestChannel; held: HeldLock }> {
  for (const channel of channels) {
    const held = await tryLock(stateFolder, channel.name);
    if (held !== undefined) return { channel, held };
  }
  throw new VmError('BUSY', `all ${channels.length} agent channels of the VM are in use by other processes`);
}
