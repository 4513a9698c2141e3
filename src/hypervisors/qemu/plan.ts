import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { bootDevices, object, quoted } from './devices.ts';

/**
 * What QEMU is told: a pure function.
 * The order of the arguments is fixed, so that two plans can be compared.
 */
export function plan(context: VmContext, binary: string): LaunchPlan {
  const { config, runtimeFolder } = context;
  const argv = [
    ...['-name', `${quoted(context.name)},debug-threads=on`],
    ...['-machine', machine(context)],
    ...['-accel', context.accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...['-cpu', cpu(context)],
    ...['-smp', `cpus=${config.vcpus},maxcpus=${config.maxVcpus}`],
    ...memory(context),
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-rtc', 'base=utc,driftfix=slew,clock=host'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...monitors(runtimeFolder),
    ...[
      '-chardev',
      `file,id=console,path=${quoted(vmmFiles.console(runtimeFolder))},append=on`,
      '-serial',
      'chardev:console',
    ],
    ...bootDevices(config, runtimeFolder),
    ...boot(context),
    ...serializeParams(config.hypervisorParams, ''),
  ];
  const enter = context.networkNamespace === undefined ? [] : [`--net=${context.networkNamespace}`, '--', binary];
  return {
    binary: enter.length > 0 ? 'nsenter' : binary,
    argv: [...enter, ...argv],
    env: {},
    files: [
      { path: vmmFiles.eventsIn(runtimeFolder), content: '{"execute":"qmp_capabilities"}\n', mode: 0o600 },
      { path: vmmFiles.eventsOut(runtimeFolder), content: '', mode: 0o600 },
      { path: vmmFiles.console(runtimeFolder), content: '', mode: 0o600 },
    ],
    requests: [],
  };
}

function machine(context: VmContext): string {
  const { config } = context;
  const machineType = config.machineType ?? 'q35';
  const options: string[] = [machineType];
  // Each of these would be found and initialised by the guest, and none is used.
  if (machineType === 'microvm') options.push('rtc=on,pic=on,pit=on,isa-serial=on,acpi=on,pcie=off');
  else options.push('usb=off,vmport=off,hpet=off,graphics=off', ...(machineType === 'q35' ? ['sata=off'] : []));
  options.push('mem-merge=on,dump-guest-core=off', ...config.machineAccelerators);
  return options.join(',');
}

/**
 * TCG offers all it can emulate but `erms`: with that flag kernel and C library copy by `rep movsb`, which is emulated byte by byte
 * and takes three times as long as the other way.
 */
function cpu(context: VmContext): string {
  const { cpuModel, cpuFeatures } = context.config;
  const model = cpuModel ?? (context.accel === 'kvm' ? 'host' : 'max,-erms');
  return [model, ...cpuFeatures].join(',');
}

function memory({ config, hostMemoryMiB }: VmContext): string[] {
  const maximum = hostMemoryMiB + (config.memoryOffsetMiB ?? 0);
  const argv = ['-m', `size=${config.memoryMiB}M,slots=${config.memorySlots},maxmem=${maximum}M`];
  if (config.hugePages || config.memPrealloc) {
    argv.push(
      ...object({
        'qom-type': config.hugePages ? 'memory-backend-file' : 'memory-backend-ram',
        id: 'memory0',
        size: config.memoryMiB * 2 ** 20,
        prealloc: config.memPrealloc,
        ...(config.hugePages ? { 'mem-path': '/dev/hugepages', share: true } : {}),
      }),
      ...['-machine', 'memory-backend=memory0'],
    );
  }
  return argv;
}

/** One monitor for us, and one on plain files on which QEMU logs its events with no process of ours. */
function monitors(runtimeFolder: string): string[] {
  return [
    ...['-chardev', `socket,id=qmp,path=${quoted(vmmFiles.qmpSocket(runtimeFolder))},server=on,wait=off`],
    ...['-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', `pipe,id=events,path=${quoted(vmmFiles.events(runtimeFolder))}`],
    ...['-mon', 'chardev=events,mode=control'],
  ];
}

function boot(context: VmContext): string[] {
  const { config } = context;
  const argv = ['-kernel', assetPath(config, 'kernel') ?? ''];
  const initrd = assetPath(config, 'initrd');
  if (initrd !== undefined) argv.push('-initrd', initrd);
  argv.push('-append', kernelLine(context));
  const firmware = assetPath(config, 'firmware');
  if (firmware !== undefined) argv.push('-bios', firmware);
  return argv;
}

/** The kernel's command line: ours first, so that the configuration's parameters win; what it sets itself is left to it. */
function kernelLine(context: VmContext): string {
  const { config } = context;
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const ours = [
    'console=ttyS0',
    'reboot=t',
    'panic=-1',
    `nr_cpus=${config.maxVcpus}`,
    'tsc=reliable',
    'no_timer_check',
    'rcupdate.rcu_expedited=1',
    'random.trust_cpu=on',
    'cryptomgr.notests',
    'net.ifnames=0',
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  return serializeParams([...missing, ...config.kernelParams], '=').join(' ');
}
