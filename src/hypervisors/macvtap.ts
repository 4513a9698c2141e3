import { execFile } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../errors.ts';

/*
 * A macvtap is a network device with a node in /dev, by whose opening a VMM gets a queue of it. A device's number is its own on all of
 * the host, but the node is named after the number of the interface, which each network namespace counts for itself.
 */

/** A macvtap of the host. */
export interface Macvtap {
  /** what is opened for it, such as `/dev/tap7` */
  node: string;
  /** its address: it hands on only what is for that */
  mac: string;
}

/**
 * Finds the node of a macvtap that is there.
 * @param namespace path of the network namespace that it is in; ours when absent
 * @throws {VmError} INVALID_ARGUMENT when it is not there; HOST_MISSING when /dev has no node for it, or that of another one
 */
export async function findMacvtap(name: string, namespace: string | undefined): Promise<Macvtap> {
  const facts = await (namespace === undefined ? factsHere(name) : factsIn(name, namespace)).catch((cause: unknown) => {
    const where = namespace ?? 'our network namespace';
    const said = ((cause as { stderr?: string }).stderr ?? VmError.from(cause).rawMessage).trim();
    throw new VmError('INVALID_ARGUMENT', `there is no macvtap ${name} in ${where}: ${said}`, { field: 'tap', cause });
  });
  const [ifindex = '', mac = '', number = ''] = facts;
  const node = `/dev/tap${ifindex}`;
  const rdev = await stat(node).then(
    (found) => (found.isCharacterDevice() ? numberOf(found.rdev) : 'no device'),
    () => 'not there',
  );
  if (rdev === number) return { node, mac };
  const [major, minor] = number.split(':');
  throw new VmError('HOST_MISSING', `${node}, the device of ${name}, is ${rdev}: it must be ${number}`, {
    path: node,
    advice: `Make it: \`mknod -m 600 ${node} c ${major} ${minor}\`.`,
  });
}

/** As glibc's gnu_dev_major and gnu_dev_minor for the numbers that Linux has (12 and 20 bits). */
function numberOf(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
}

/** Number of the interface, address, number of the device. */
async function factsHere(name: string): Promise<string[]> {
  const folder = path.join('/sys/class/net', name);
  const read = async (file: string): Promise<string> => (await readFile(path.join(folder, file), 'utf8')).trim();
  const device = (await readdir(folder)).find((entry) => /^tap\d+$/.test(entry)) ?? '';
  return [await read('ifindex'), await read('address'), await read(path.join(device, 'dev'))];
}

/** What /sys shows is of the network namespace in which it was mounted. */
const lookScript = `
mount -t sysfs none /sys && cd "/sys/class/net/$1" && cat ifindex address tap*/dev
`;

async function factsIn(name: string, namespace: string): Promise<string[]> {
  const argv = [`--net=${namespace}`, '--', 'unshare', '--mount', '--', '/bin/sh', '-c', lookScript, 'look', name];
  const { stdout } = await promisify(execFile)('nsenter', argv, { timeout: 10_000 });
  return stdout.trim().split('\n');
}
