import { chmodSync, closeSync, constants, lchownSync, openSync, statSync } from 'node:fs';
import path from 'node:path';

/** Opens a file only to say which it is: of a link, the link (open(2), O_PATH; Node does not name it). */
const pathOnly = 0o10000000 | constants.O_NOFOLLOW;

/**
 * Gives a VMM what we have put into its folder: that has its uid, where it has one of its own. A link that the VMM may have put in its
 * place is not followed.
 * @throws the file system's errors
 */
export function giveToVmm(file: string): void {
  const { uid, gid } = statSync(path.dirname(file));
  if (uid !== process.geteuid?.()) lchownSync(file, uid, gid);
}

/** Gives a VMM a socket of ours in its folder, which is then closed to others (0600). As {@link giveToVmm}. */
export function giveSocketToVmm(socket: string): void {
  const opened = openSync(socket, pathOnly);
  try {
    // A link has no mode: the kernel refuses, or changes nothing that counts.
    chmodSync(`/proc/self/fd/${opened}`, 0o600);
  } finally {
    closeSync(opened);
  }
  giveToVmm(socket);
}
