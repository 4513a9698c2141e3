import type { CallOptions } from '../config/call-options.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import type { FsDevice, NetDevice } from '../hypervisors/device.ts';
import type { AttachedDevice } from './device-spec.ts';

/*
 * What the guest is asked to do with a device that it got. The scripts never change: what comes from callers are their arguments.
 */

/** Lines of a program's output in an error. */
const shownChars = 300;

const mountScript = 'mkdir -p -- "$3" && exec mount -t "$1" -o "$4" "$2" "$3"';

/** QEMU's user-mode network gives its one guest always the same (docs/system/devices/net.rst in its sources). */
const networkScript = [
  "if ip -4 addr | grep -q ' 10\\.0\\.2\\.15/'; then echo 'it has a user-mode network already, and can have one'; exit 1; fi",
  'for card in /sys/class/net/*; do',
  '  read -r mac <"$card/address"',
  '  [ "$mac" = "$1" ] || continue',
  '  name=${card##*/}',
  '  ip addr add 10.0.2.15/24 dev "$name" && ip link set "$name" up && ip route add default via 10.0.2.2 || exit 1',
  '  [ -e /etc/resolv.conf ] || echo nameserver 10.0.2.3 >/etc/resolv.conf',
  '  exit 0',
  'done',
  'echo "no network card has the address $1"; exit 1',
].join('\n');

/**
 * Mounts a folder where it is to be, or gives a card of a user-mode network its address.
 * @throws {VmError} AGENT_FAILED with what the guest said; GUEST_NOT_FOUND in a guest without a shell; AGENT_GONE, TIMEOUT, ABORTED
 */
export async function setUpInGuest(
  agent: GuestAgent,
  { device, mountAt }: AttachedDevice,
  config: HypervisorConfig,
  call: CallOptions,
): Promise<void> {
  if (device.kind === 'fs' && mountAt !== undefined) await mountFolder(agent, device, mountAt, config, call);
  if (device.kind === 'net' && isUserMode(device)) {
    await run(agent, [networkScript, device.mac ?? ''], `the network ${device.id} can't be set up`, call);
  }
}

/** Undoes it, before the device is taken away. @throws {VmError} GUEST_REFUSED when the folder is in use there; as above */
export async function clearInGuest(
  agent: GuestAgent,
  { device, mountAt }: AttachedDevice,
  call: CallOptions,
): Promise<void> {
  if (device.kind !== 'fs' || mountAt === undefined) return;
  try {
    await run(agent, ['exec umount -- "$1"', mountAt], `${mountAt} can't be unmounted`, call);
  } catch (error) {
    const found = VmError.from(error);
    if (found.code !== 'AGENT_FAILED') throw error;
    // The guest may have unmounted it by itself.
    if (/not mounted|Invalid argument|No such file/i.test(found.rawMessage)) return;
    throw new VmError('GUEST_REFUSED', found.rawMessage, { cause: error });
  }
}

async function mountFolder(
  agent: GuestAgent,
  device: FsDevice,
  at: string,
  { sharedFs, msize9pBytes }: HypervisorConfig,
  call: CallOptions,
): Promise<void> {
  const access = device.readOnly ? 'ro' : 'rw';
  const [type, options] =
    (device.driver ?? sharedFs) === 'virtio-fs'
      ? ['virtiofs', access]
      : ['9p', `trans=virtio,version=9p2000.L,${access}${msize9pBytes === undefined ? '' : `,msize=${msize9pBytes}`}`];
  await run(
    agent,
    [mountScript, type, device.tag, at, options],
    `the guest can't mount the folder ${device.path}`,
    call,
  );
}

/** A network without a device of the host: the VMM plays the router, and says to which address. */
export function isUserMode(device: NetDevice): boolean {
  return device.tap === undefined;
}

async function run(
  agent: GuestAgent,
  [script = '', ...words]: readonly string[],
  what: string,
  call: CallOptions,
): Promise<void> {
  const { exitCode, stdout, stderr } = await agent.exec(['/bin/sh', '-c', script, 'sh', ...words], {
    signal: call.signal,
    timeoutMs: call.timeoutMs,
  });
  if (exitCode === 0) return;
  throw new VmError('AGENT_FAILED', `${what}: ${`${stderr}${stdout}`.trim().slice(0, shownChars)}`);
}
