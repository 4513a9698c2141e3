// An acrn-dm without a hypervisor: its command line, sockets and quirks, with the real agent as its guest.
import { existsSync, mkdirSync, rmSync, statSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { nameVcpuThreads, startAgent } from '../vmm-api/guest.ts';
import { type CommandLine, readCommandLine, Refusal } from './command-line.ts';
import type { AcrnFault } from './program.ts';
import { servePort } from './serial-port.ts';

const env = process.env;
const fault = env['FAKE_FAULT'] as AcrnFault | '';
/** What it logs comes out when it ends: its output is a file, and what is buffered for it is not full before. */
const buffered: string[] = ['acrn-dm of nobody starts'];
/** What goes when it ends by itself; a killed one leaves them. The sockets of serial ports stay in any case. */
const removed: string[] = [];

function end(code: number): never {
  process.stdout.write(buffered.map((line) => `${line}\n`).join(''));
  for (const file of removed) rmSync(file, { force: true });
  process.exit(code);
}

/** The file of a disk, which must be there and whole sectors. */
function openDisk(file: string): void {
  if (!existsSync(file)) throw new Refusal(1, `Could not open backing file: ${file}`);
  const { size } = statSync(file);
  if (size % 512 !== 0) throw new Refusal(1, `backing file size not corret: ${size}`);
}

/** The slots of disks without a file, into each of which one goes. */
function openDisks({ slots }: CommandLine): Set<number> {
  const empty = new Set<number>();
  for (const { slot, device, options } of slots) {
    if (device !== 'virtio-blk') continue;
    const file = options.find((option) => option !== 'iothread') ?? '';
    if (options.some((option) => option.includes('nodisk'))) empty.add(slot);
    else openDisk(file);
  }
  return empty;
}

/** `SLOT,PATH[,OPTIONS]`, of a slot that has no file yet. */
function rescan(words: string, empty: Set<number>): boolean {
  const [slot = '', file = ''] = words.slice(0, 319).split(',');
  if (!empty.has(Number(slot)) || fault === 'monitor-refuses') return false;
  try {
    openDisk(file);
  } catch {
    return false;
  }
  empty.delete(Number(slot));
  return true;
}

/** One client at a time: the next one is taken, and waits. */
function serveMonitor(file: string, empty: Set<number>): void {
  if (existsSync(file)) unlinkSync(file);
  removed.push(file);
  const waiting: net.Socket[] = [];
  let current: net.Socket | undefined;
  const next = (): void => {
    current = waiting.shift();
    current?.on('data', (data: Buffer) => answer(data.toString(), current));
    current?.on('close', next);
  };
  net
    .createServer((client) => {
      client.on('error', () => undefined);
      waiting.push(client);
      if (current === undefined) next();
    })
    .listen(file);
  const answer = (text: string, client: net.Socket | undefined): void => {
    let command: { command?: unknown; arguments?: unknown };
    try {
      command = JSON.parse(text) as typeof command;
    } catch {
      return;
    }
    if (fault === 'monitor-silence') return;
    if (fault === 'monitor-closes') return void client?.destroy();
    if (fault === 'monitor-babbles') return void client?.write('{"nack":1}');
    if (command.command === 'destroy') return end(0);
    // What it does not know it does not answer.
    if (command.command !== 'blkrescan') return;
    const done = rescan(String(command.arguments), empty);
    client?.write(`{\n\t"ack":\t${done ? 0 : -1}\n}`);
  };
}

/** The socket for acrnctl, which is there whether somebody wants it or not. */
function serveManager(name: string): void {
  const folder = env['FAKE_SOCKETS'] ?? '';
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${name}.monitor.${process.pid}.socket`);
  removed.push(file);
  net.createServer((client) => client.on('error', () => undefined)).listen(file);
}

async function run(): Promise<void> {
  const line = readCommandLine(process.argv.slice(2));
  const empty = openDisks(line);
  if (fault === 'iasl') throw new Refusal(1, 'Please install iasl or provide the path by `--iasl`');
  if (fault === 'CREATE_VM') throw new Refusal(1, 'failed to create VM v0: File exists');
  if (!existsSync(line.kernel)) throw new Refusal(10, 'SW_LOAD ERR: could not open the kernel file');
  if (line.initrd !== undefined && !existsSync(line.initrd))
    throw new Refusal(11, 'SW_LOAD ERR: could not open the ramdisk file');
  process.on('SIGINT', () => end(0));
  // Once its guest uses ACPI.
  process.on('SIGTERM', () => undefined);
  if (fault === 'START_VM') buffered.push('vm_loop, failed to run VM.');
  else {
    // Its working folder is its caller's.
    const folder = path.join(path.dirname(line.monitor), 'guest');
    const agent = await startAgent(folder, (text) => process.stdout.write(text));
    agent.on('exit', () => end(0));
    const ports = line.slots.filter(({ device }) => device === 'virtio-console').flatMap(({ options }) => options);
    for (const port of ports) servePort(port, folder);
    nameVcpuThreads(1, () => 'vcpu 0');
  }
  serveManager(line.name);
  serveMonitor(line.monitor, empty);
}

run().catch((error: unknown) => {
  buffered.push(error instanceof Error ? error.message : String(error));
  end(error instanceof Refusal ? error.exitCode : 70);
});
