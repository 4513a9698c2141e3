import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { connectAgent, type FirstSync } from '../guest/native/agent.ts';
import type { GuestChannel } from '../hypervisors/hypervisor.ts';
import { type HeldLock, lockAny } from '../state/lock.ts';

/** A session with a guest's agent, and the lock of the channel that it uses. */
export interface AgentLink {
  readonly agent: GuestAgent;
  close(): Promise<void>;
}

export interface LinkOptions extends CallOptions {
  /** nothing of a former client can stand in a channel: there was none, or it has ended between two frames */
  fresh?: boolean | undefined;
  /** is given to the agent before it has said a word: of one that is known to take it */
  first?: FirstSync | undefined;
  /** called when a channel is taken */
  onChannel?: (() => void) | undefined;
}

/**
 * Takes a free channel and opens a session on it: each channel serves one client, and a second one would hear nothing.
 * @throws {VmError} BUSY when every channel is taken, TIMEOUT, ABORTED, AGENT_GONE, AGENT_PROTOCOL
 */
export async function linkAgent(
  stateFolder: string,
  channels: readonly GuestChannel[],
  options: LinkOptions,
): Promise<AgentLink> {
  const scope = callScope('connecting to the guest agent', options);
  let held: HeldLock | undefined;
  try {
    const { channel, held: taken } = await takeChannel(stateFolder, channels, scope.signal);
    held = taken;
    options.onChannel?.();
    const stream = await channel.open({ signal: scope.signal });
    try {
      const agent = await connectAgent(stream, {
        signal: scope.signal,
        showsHangup: channel.showsHangup || options.fresh === true,
        lossyWindow: channel.lossyWindow,
        first: options.first,
      });
      return {
        agent,
        close: async () => {
          await agent.close();
          await taken.release();
        },
      };
    } catch (error) {
      stream.destroy();
      throw error;
    }
  } catch (error) {
    await held?.release();
    // Who waited in vain for a channel is told just that.
    if (held !== undefined) scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}

/** Waits until one is free, when all are in use. */
async function takeChannel(
  stateFolder: string,
  channels: readonly GuestChannel[],
  signal: AbortSignal,
): Promise<{ channel: GuestChannel; held: HeldLock }> {
  const names = channels.map(({ name }) => name);
  const { name, held } = await lockAny(stateFolder, names, { signal }).catch((error: unknown) => {
    const { code } = VmError.from(error);
    if (code !== 'BUSY' && code !== 'TIMEOUT') throw error;
    const what = `all ${channels.length} agent channels of the VM stayed in use, by other handles or processes`;
    throw new VmError('BUSY', what, { advice: 'Close a handle that is not needed, or wait longer with `timeoutMs`.' });
  });
  const channel = channels.find((one) => one.name === name);
  if (channel === undefined) throw new VmError('INTERNAL', `no channel is called ${name}`);
  return { channel, held };
}
