import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { fileError } from '../config/file-error.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { checkQcow2 } from '../config/qcow2-header.ts';
import { VmError } from '../errors.ts';
import {
  type BlockDevice,
  type Device,
  isMediated,
  type NetDevice,
  type VfioDevice,
  type VhostUserDevice,
} from './device.ts';
import { findMacvtap, type Macvtap } from './macvtap.ts';

/** What of a VM decides whether the host has what a device needs. */
export interface DeviceSurroundings {
  config: Pick<HypervisorConfig, 'enableVhostUserStore' | 'vhostUserStorePath'>;
  /** path of the network namespace in which the VMM runs; ours when absent */
  networkNamespace?: string | undefined;
}

/**
 * Looks at what a device needs of the host, as far as that can be told beforehand.
 * @returns the device with the links in its paths resolved, so that one file has one name
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID, PERMISSION, HOST_MISSING, INVALID_ARGUMENT
 */
export async function onHost<D extends Device>(device: D, at: DeviceSurroundings): Promise<D> {
  switch (device.kind) {
    case 'block':
      return { ...device, ...(await lookAtDisk(device)) };
    case 'net':
      return { ...device, ...(await lookAtNetwork(device, at.networkNamespace)) };
    case 'fs':
      return { ...device, path: await folder(device.path) };
    case 'vsock':
      await requireNode('/dev/vhost-vsock', 'Load the module vhost_vsock, or give this user access.');
      return device;
    case 'vfio':
      await lookAtVfio(device);
      return device;
    case 'vhost-user':
      return { ...device, socket: await socket(device, at.config) };
    case 'serial-port':
    case 'hybrid-vsock':
    case 'cpu':
    case 'memory':
      return device;
  }
}

async function lookAtDisk(device: BlockDevice): Promise<Partial<BlockDevice>> {
  const real = await resolved(device.path);
  await withDisk(real, device.readOnly, async (file) => {
    if (device.format === 'qcow2') await checkQcow2(file, real, device.backing !== undefined);
  });
  if (device.backing === undefined) return { path: real };
  const backing = { ...device.backing, path: await resolved(device.backing.path) };
  await withDisk(backing.path, true, async (file) => {
    if (backing.format === 'qcow2') await checkQcow2(file, backing.path, false);
  });
  return { path: real, backing };
}

/** Opens a disk as the VMM will. */
async function withDisk(disk: string, readOnly: boolean, look: (file: FileHandle) => Promise<void>): Promise<void> {
  const found = await stat(disk).catch((error: unknown) => {
    throw fileError(error, 'path', disk);
  });
  if (!found.isBlockDevice() && !found.isFile())
    throw new VmError('FILE_INVALID', `${disk} is neither a file nor a block device`, { path: disk });
  if (found.isFile() && found.size === 0) throw new VmError('FILE_INVALID', `${disk} is empty`, { path: disk });
  // Root may write to any file; one that nobody may write is meant to stay as it is.
  const refused = !readOnly && found.isFile() && (found.mode & 0o222) === 0;
  const flags = (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK;
  const file = refused
    ? undefined
    : await open(disk, flags).catch((error: NodeJS.ErrnoException) => {
        if (!readOnly && ['EACCES', 'EPERM', 'EROFS'].includes(error.code ?? '')) return undefined;
        throw fileError(error, 'path', disk);
      });
  if (file === undefined) {
    const advice = 'Attach it read-only, or make it writable.';
    throw new VmError('PERMISSION', `${disk} may not be written`, { path: disk, field: 'readOnly', advice });
  }
  try {
    await look(file);
  } finally {
    await file.close();
  }
}

async function folder(given: string): Promise<string> {
  const real = await resolved(given);
  if (!(await stat(real)).isDirectory()) throw new VmError('FILE_INVALID', `${given} is no folder`, { path: given });
  return real;
}

async function socket(device: VhostUserDevice, config: DeviceSurroundings['config']): Promise<string> {
  const real = await resolved(device.socket);
  if (!(await stat(real)).isSocket()) throw new VmError('FILE_INVALID', `${real} is no socket`, { path: real });
  const { enableVhostUserStore, vhostUserStorePath: store } = config;
  if (enableVhostUserStore && store !== undefined && !real.startsWith(`${await resolved(store)}/`)) {
    throw new VmError('INVALID_ARGUMENT', `the socket ${real} is not under vhostUserStorePath, ${store}`, {
      field: 'socket',
      path: real,
    });
  }
  return real;
}

/** QEMU would make a tap device that isn't there, and nothing would be at its other end. */
async function lookAtNetwork(device: NetDevice, namespace: string | undefined): Promise<Partial<NetDevice>> {
  if (device.vhost === true) await requireNode('/dev/vhost-net', 'Load the module vhost_net, or leave `vhost` out.');
  if (device.tap === undefined) return {};
  const where = namespace === undefined ? '' : ` in the network namespace ${namespace}`;
  const kind = await interfaceKind(device.tap, namespace);
  const wanted = device.tapType ?? 'tap';
  if (wanted === 'tap') await requireNode('/dev/net/tun', 'Load the module tun, or give this user access.');
  if (kind === undefined)
    throw new VmError('INVALID_ARGUMENT', `there is no network device ${device.tap}${where}`, {
      field: 'tap',
      advice:
        wanted === 'tap'
          ? `Make it first: \`ip tuntap add ${device.tap} mode tap\`.`
          : `Make it first: \`ip link add link eth0 name ${device.tap} type macvtap\`.`,
    });
  if (kind !== (wanted === 'tap' ? 'tun' : wanted))
    throw new VmError('INVALID_ARGUMENT', `${device.tap} is no ${wanted} device but ${kind}`, { field: 'tap' });
  return wanted === 'tap' ? {} : ofMacvtap(device, await findMacvtap(device.tap, namespace));
}

/** The guest's card has the address of the macvtap, since that hands on only what is for its own. */
async function ofMacvtap({ tap, mac }: NetDevice, found: Macvtap): Promise<Partial<NetDevice>> {
  if (mac !== undefined && mac.toLowerCase() !== found.mac)
    throw new VmError('INVALID_ARGUMENT', `the macvtap ${tap} has the address ${found.mac}, and the card ${mac}`, {
      field: 'mac',
      advice: 'Leave `mac` out, or give the macvtap that address (`ip link set dev NAME address MAC`).',
    });
  await requireNode(found.node, 'Give this user access.');
  return { mac: found.mac };
}

/** What `ip` calls the kind of a network device: `tun` for a tap; undefined when there is none. */
async function interfaceKind(name: string, namespace: string | undefined): Promise<string | undefined> {
  const ask = ['ip', '-details', '-json', 'link', 'show', 'dev', name];
  const [program = '', ...argv] = namespace === undefined ? ask : ['nsenter', `--net=${namespace}`, '--', ...ask];
  try {
    const { stdout } = await promisify(execFile)(program, argv, { timeout: 10_000, maxBuffer: 1 << 20 });
    const [link] = JSON.parse(stdout) as { link_type?: string; linkinfo?: { info_kind?: string } }[];
    return link?.linkinfo?.info_kind ?? link?.link_type ?? 'of another kind';
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') throw new VmError('HOST_MISSING', `${program} is not on this host`, { cause: error });
    if (typeof stderr === 'string' && stderr.includes('does not exist')) return undefined;
    throw new VmError('INVALID_ARGUMENT', `${name} can't be looked at: ${(stderr ?? '').trim()}`, { cause: error });
  }
}

/** Folder of a PCI device of the host. */
const pciDevices = '/sys/bus/pci/devices';

/** Where the host tells of a device that is handed through. */
export function sysfsFolder(device: VfioDevice): string {
  return isMediated(device) ? device.address : path.join(pciDevices, device.address.toLowerCase());
}

/** The node by which a device that is handed through is opened: that of its IOMMU group. @throws {VmError} FILE_NOT_FOUND, HOST_MISSING */
export async function groupNode(device: VfioDevice): Promise<string> {
  const at = sysfsFolder(device);
  const { address } = device;
  const group = await readlink(path.join(at, 'iommu_group')).catch(async () => {
    const there = await access(at).then(
      () => true,
      () => false,
    );
    if (!there)
      throw new VmError('FILE_NOT_FOUND', `the host has no device ${address}`, { field: 'address', path: at });
    const advice = 'Turn the IOMMU on in the firmware and on the kernel command line (intel_iommu=on).';
    throw new VmError('HOST_MISSING', `${address} is in no IOMMU group`, { field: 'address', path: at, advice });
  });
  return path.join('/dev/vfio', path.basename(group));
}

async function lookAtVfio(device: VfioDevice): Promise<void> {
  const { address } = device;
  const node = await groupNode(device);
  const at = sysfsFolder(device);
  const driver = path.basename(await readlink(path.join(at, 'driver')).catch(() => 'none'));
  if (!isMediated(device) && driver !== 'vfio-pci') {
    const advice = `Bind it: \`driverctl set-override ${address} vfio-pci\`, or by \`driver_override\` in sysfs.`;
    throw new VmError('INVALID_ARGUMENT', `${address} is bound to ${driver}, not to vfio-pci`, {
      field: 'address',
      advice,
    });
  }
  await requireNode(node, 'Give this user access to its group.');
}

async function requireNode(node: string, advice: string): Promise<void> {
  try {
    await access(node, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const problem = code === 'ENOENT' ? 'is not on this host' : 'may not be opened by this user';
    throw new VmError('HOST_MISSING', `${node} ${problem}`, { path: node, advice, cause });
  }
}

async function resolved(given: string): Promise<string> {
  return realpath(given).catch((error: unknown) => {
    throw fileError(error, 'path', given);
  });
}
