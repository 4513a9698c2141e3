import { readdir, readFile, readlink } from 'node:fs/promises';

/**
 * The pseudo-terminal whose other end a process holds: asked of the kernel, since the VMM itself may name any. Undefined when it holds none.
 */
export async function consoleOf(pid: number): Promise<string | undefined> {
  const folder = `/proc/${pid}/fd`;
  const descriptors = await readdir(folder).catch(() => []);
  for (const descriptor of descriptors) {
    const target = await readlink(`${folder}/${descriptor}`).catch(() => '');
    if (!target.endsWith('/ptmx')) continue;
    const facts = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'latin1').catch(() => '');
    const index = /^tty-index:\s*(\d+)$/m.exec(facts)?.[1];
    if (index !== undefined) return `/dev/pts/${index}`;
  }
  return undefined;
}
