import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { testpmdIn } from '../rigs/testpmd.ts';

const counter = '/proc/sys/vm/nr_hugepages';

/** Does something while the lab has huge pages of 2 MiB. @param count how many */
export async function withHugePages(count: number, use: () => Promise<void>): Promise<void> {
  const before = readFileSync(counter, 'utf8');
  writeFileSync(counter, `${Number(before) + count}`);
  try {
    await use();
  } finally {
    writeFileSync(counter, before);
  }
}

/** Huge pages that somebody has. */
export function hugePagesInUse(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const read = (name: string): number => Number(new RegExp(`^HugePages_${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]);
  return read('Total') - read('Free');
}

/** Has a process of its own serve a disk on a socket, as vhost-user-blk, while something is done. */
export async function withServedDisk(image: string, socket: string, use: () => Promise<void>): Promise<void> {
  const pidFile = `${socket}.pid`;
  const server = spawn('qemu-storage-daemon', [
    ...['--blockdev', `driver=file,node-name=disk,filename=${image}`],
    ...['--export', `type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=${socket},writable=on`],
    // The pid is written when it listens; its own words stay out of the test's.
    ...['--pidfile', pidFile, '--daemonize'],
  ]);
  const [code] = (await once(server, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`qemu-storage-daemon ended with ${code}`);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  // For a VMM with a uid of its own.
  chmodSync(socket, 0o666);
  try {
    await use();
  } finally {
    process.kill(pid, 'SIGTERM');
    while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
    for (const file of [socket, pidFile]) rmSync(file, { force: true });
  }
}

/** Has a process of its own serve a network card on a socket, as vhost-user: it answers every ping, whatever the address. */
export async function withServedCard(socket: string, use: () => Promise<void>): Promise<void> {
  const server = testpmdIn('/lab/testpmd').start(socket);
  const exit = once(server, 'exit');
  try {
    while (!existsSync(socket)) {
      if (server.exitCode !== null) throw new Error(`testpmd ended with ${server.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    chmodSync(socket, 0o666);
    await use();
  } finally {
    server.kill('SIGKILL');
    await exit;
    rmSync(socket, { force: true });
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
