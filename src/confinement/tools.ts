import { accessSync, constants } from 'node:fs';
import path from 'node:path';

/** The programs that confine a VMM; every distribution has them (util-linux, coreutils). */
export const toolNames = ['unshare', 'setpriv', 'mount', 'umount', 'nsenter', 'mknod', 'prlimit'] as const;
export type ToolName = (typeof toolNames)[number];
export type Tools = Readonly<Partial<Record<ToolName, string>>>;

/** An ordinary user's PATH often lacks the sbin folders, where some distributions keep the tools. */
const folders = ['/usr/bin', '/usr/sbin', '/bin', '/sbin'];

/** The tools that are on this host, as absolute paths: what is run through them has no PATH of its own. */
export function findTools(searchPath: string = process.env['PATH'] ?? ''): Tools {
  const everywhere = [...folders, ...searchPath.split(':').filter((folder) => path.isAbsolute(folder))];
  const found: Partial<Record<ToolName, string>> = {};
  for (const name of toolNames) {
    const place = everywhere.map((folder) => path.join(folder, name)).find(mayRun);
    if (place !== undefined) found[name] = place;
  }
  return found;
}

function mayRun(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
