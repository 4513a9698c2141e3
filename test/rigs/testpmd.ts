import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** dpdk-testpmd, as a process at the other end of a vhost-user network card. */
export interface Testpmd {
  /** Listens on a socket, and answers every ARP request and every ping, whatever the address. It keeps one CPU busy. */
  start(socket: string): ChildProcess;
}

/** Brings it where this checkout has not got it yet. @returns why not, as a text, on a host without Debian's packages */
export function getTestpmd(): Testpmd | string {
  try {
    const folder = bringTestpmd();
    // DPDK loads no plugin from below such a folder (eal_plugin_add, lib/eal/common/eal_common_options.c).
    for (let at = folder; at !== '/'; at = path.dirname(at))
      if ((statSync(at).mode & 0o002) !== 0) return `dpdk-testpmd can't be used: all users may write into ${at}`;
    return testpmdIn(folder);
  } catch (error) {
    return `dpdk-testpmd can't be had: ${(error as { stderr?: Buffer }).stderr?.toString().trim().split('\n').at(-1) ?? ''}`;
  }
}

/** Brings it and the libraries that it needs of its own. @returns the folder that they are in @throws where they can't be had */
export function bringTestpmd(): string {
  const folder = path.resolve('node_modules/.cache/rigs/testpmd');
  const script = fileURLToPath(new URL('testpmd.sh', import.meta.url));
  execFileSync('/bin/sh', [script, folder], { stdio: ['ignore', 'pipe', 'pipe'] });
  return folder;
}

/** That in a folder, here or in another machine. */
export function testpmdIn(folder: string): Testpmd {
  const { program, libraries, plugins } = testpmdFiles(folder);
  return {
    start: (socket) =>
      spawn(
        program,
        [
          ...['-l', '0,1', '--no-huge', '--no-shconf', '--no-telemetry', '-m', '128', '--no-pci'],
          ...plugins.flatMap((plugin) => ['-d', plugin]),
          ...['--vdev', `net_vhost0,iface=${socket}`],
          ...['--', '--total-num-mbufs=2048', '--forward-mode=icmpecho', '--auto-start'],
        ],
        // Without a terminal it goes on until its stdin ends.
        { env: { LD_LIBRARY_PATH: libraries }, stdio: ['pipe', 'ignore', 'ignore'] },
      ),
  };
}

/** Where its parts are. `libraries` is a folder. */
export function testpmdFiles(folder: string): { program: string; libraries: string; plugins: string[] } {
  const at = path.join(folder, 'usr/lib');
  const libraries = path.join(at, readdirSync(at).find((name) => name.endsWith('-linux-gnu')) ?? '');
  const plugins = readdirSync(libraries)
    .filter((name) => /^librte_(net_vhost|mempool_ring)\.so\.\d+$/.test(name))
    .map((name) => path.join(libraries, name));
  return { program: path.join(folder, 'usr/bin/dpdk-testpmd'), libraries, plugins };
}
