import { connectUnix } from '../transports/unix-socket.ts';
import type { GuestChannel } from './hypervisor.ts';

/** A guest channel that the VMM serves on a unix socket. */
export function unixChannel(
  name: string,
  path: string,
  traits: Pick<GuestChannel, 'showsHangup' | 'survivesRestore' | 'lossyWindow'>,
): GuestChannel {
  return { name, ...traits, open: (options) => connectUnix(path, options) };
}
