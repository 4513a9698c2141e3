import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import { rootParams } from '../root-params.ts';
import type { LaunchPlan, PlannedPath } from '../launch-plan.ts';
import { agentPorts, bootDevices, diskArgument, type Placed, serialPorts } from './devices.ts';
import { extraArgv } from './plan-params.ts';

/** What of a plan is known only when the host and the VM's devices have been looked at. */
export interface Found {
  /** LAPIC ids of the CPUs, one for each vCPU */
  lapicIds: readonly number[];
  devices: readonly Placed[];
  /** where iasl is; acrn-dm looks for it on its PATH when absent */
  iasl?: string | undefined;
}

/** What acrn-dm is told of a VM without devices on the first CPUs: a pure function. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  const lapicIds = Array.from({ length: context.config.vcpus }, (_, id) => id);
  return planWith(context, binary, { lapicIds, devices: [] });
}

/** acrn-dm takes it with all that it is to be; nothing is asked of it later. Pure. @throws {VmError} INVALID_CONFIG, INVALID_ARGUMENT */
export function planWith(context: VmContext, binary: string, found: Found): LaunchPlan {
  const { config, runtimeFolder, networkNamespace } = context;
  checkConfig(config);
  checkFolder(runtimeFolder);
  const initrd = assetPath(config, 'initrd');
  return {
    binary,
    argv: [
      ...['-m', `${config.memoryMiB}M`, '--cpu_affinity', found.lapicIds.join(',')],
      ...bootDevices(context, found.devices),
      ...found.devices.flatMap((placed) => diskArgument(placed, context)),
      ...serialPorts(found.devices, runtimeFolder),
      ...['-k', assetPath(config, 'kernel') ?? ''],
      ...(initrd === undefined ? [] : ['-r', initrd]),
      ...['-B', kernelLine(context)],
      ...['--cmd_monitor', vmmFiles.monitorSocket(runtimeFolder)],
      ...(found.iasl === undefined ? [] : ['--iasl', found.iasl]),
      ...['--logger_setting', `console,level=${config.debug ? 5 : 4}`],
      ...extraArgv(config),
      vmName(context.id),
    ],
    // It calls sh, which and iasl, and makes ACPI tables in files of a moment.
    env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ACPI_TMPDIR: runtimeFolder },
    files: [{ path: vmmFiles.anchorDisk(runtimeFolder), content: '\0'.repeat(sectorBytes), mode: 0o600 }],
    requests: [],
    paths: paths(context, found),
    networkNamespace,
    largestFileBytes: Math.max(config.memoryMiB * 2 ** 20, ...found.devices.map(({ sizeBytes = 0 }) => sizeBytes)),
  };
}

const sectorBytes = 512;

/** acrn-dm cuts the rest of the kernel's command line in silence. */
const maxKernelLineBytes = 1024;

/** acrn-dm refuses less. */
const minMemoryMiB = 128;

/**
 * What ACRN calls a VM: a letter and our id, 13 of the 15 characters that it takes. All are of one length, since its tools find a
 * VM by the beginning of its name.
 */
export function vmName(id: string): string {
  return `v${id}`;
}

/** Channels of the agent, for the driver. */
export const agentChannels: number = agentPorts;

function checkConfig({ memoryMiB }: HypervisorConfig): void {
  const refuse = (problem: string): VmError =>
    new VmError('INVALID_CONFIG', `memoryMiB of an ACRN guest must be ${problem}, not ${memoryMiB}`, {
      field: 'memoryMiB',
    });
  if (memoryMiB < minMemoryMiB) throw refuse(`at least ${minMemoryMiB}`);
  if (memoryMiB % 2 !== 0) throw refuse('even: it is in huge pages of 2 MiB');
}

/** acrn-dm splits its options at commas, colons and equals signs, and gives file names to a shell. */
function checkFolder(folder: string): void {
  if (/^[\w./-]+$/.test(folder)) return;
  throw new VmError(
    'INVALID_ARGUMENT',
    `acrn-dm can't work in ${folder}: it takes letters, digits, dots, - and _ only`,
    {
      path: folder,
      advice: 'Choose another runtime folder: XDG_RUNTIME_DIR or POLYVISOR_HOME.',
    },
  );
}

/**
 * Ours first, so that the configuration's parameters win. `reboot=t`: a triple fault ends the VM, where every other way to reboot
 * has acrn-dm start it anew. The last console is the one that can be typed on.
 */
function kernelLine({ config }: VmContext): string {
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const ours = [
    'console=ttyS0',
    'reboot=t',
    'panic=-1',
    `nr_cpus=${config.vcpus}`,
    'tsc=reliable',
    'no_timer_check',
    'rcupdate.rcu_expedited=1',
    'random.trust_cpu=on',
    'cryptomgr.notests',
    'net.ifnames=0',
    ...rootParams(config, '/dev/vda'),
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  const typed = { key: 'console', value: 'hvc0' };
  const line = serializeParams([...missing, ...config.kernelParams, typed], '=').join(' ');
  if (Buffer.byteLength(line) <= maxKernelLineBytes) return line;
  const problem = `the kernel's command line has ${Buffer.byteLength(line)} bytes, of which acrn-dm passes on ${maxKernelLineBytes}`;
  throw new VmError('INVALID_CONFIG', problem, { field: 'kernelParams', advice: 'Leave some parameters out.' });
}

/**
 * What it opens beside its own folder. The folders in /run belong to root and are shared by all guests of ACRN, so that a uid of its
 * own (confinement `strict`) is refused them.
 */
function paths({ config }: VmContext, { devices }: Found): PlannedPath[] {
  const assets = (['kernel', 'initrd', 'image'] as const).map((type) => assetPath(config, type));
  const read = [...assets.filter((path) => path !== undefined), '/bin', '/usr/bin', '/sys/kernel/mm/hugepages'];
  const written = devices.flatMap(({ device, node = '/dev/net/tun' }) => {
    if (device.kind === 'block') return device.readOnly ? [] : [device.path];
    if (device.kind === 'vsock') return ['/dev/vhost-vsock'];
    if (device.kind !== 'net') return [];
    return [node, ...(device.vhost === true ? ['/dev/vhost-net'] : [])];
  });
  const readDisks = devices.flatMap(({ device }) => (device.kind === 'block' && device.readOnly ? [device.path] : []));
  return [
    ...[...read, ...readDisks].map((path): PlannedPath => ({ path, access: 'read' })),
    { path: '/sys/firmware/acpi/tables/APIC', access: 'read', optional: true },
    { path: '/dev/random', access: 'read' },
    ...['/dev/acrn_hsm', '/dev/acrn_vhm', '/run/hugepage/acrn', '/run/acrn'].map((path): PlannedPath => ({
      path,
      access: 'write',
      optional: true,
    })),
    ...written.map((path): PlannedPath => ({ path, access: 'write' })),
  ];
}
