import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';

/**
 * A first command, before the guest stands still: what its kernel makes or patches once is done, and the next command finds it so.
 * @throws {VmError} what `exec` fails with, but for a guest that lacks the program
 */
export async function warmUp(agent: GuestAgent, call: CallOptions): Promise<void> {
  try {
    await agent.exec(['true'], call).exited;
  } catch (error) {
    // A guest that lacks this program, or can't run it, has at least started a process.
    const { code } = VmError.from(error);
    if (code !== 'GUEST_NOT_FOUND' && code !== 'GUEST_NOT_EXECUTABLE') throw error;
  }
}
