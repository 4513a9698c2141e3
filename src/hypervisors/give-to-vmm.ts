import { lchownSync, statSync } from 'node:fs';
import path from 'node:path';

/**
 * Gives a VMM what we have put into its folder: that has its uid, where it has one of its own. A link that the VMM may have put in its
 * place is not followed.
 * @throws the file system's errors
 */
export function giveToVmm(file: string): void {
  const { uid, gid } = statSync(path.dirname(file));
  if (uid !== process.geteuid?.()) lchownSync(file, uid, gid);
}
