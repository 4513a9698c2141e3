import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import { rootParams } from '../root-params.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { bootDevices, placedRoot } from './devices.ts';
import { partsOf } from './devices-kinds.ts';
import { asArguments, quoted } from './devices-parts.ts';
import { machineFamily, type Placed } from './devices-place.ts';
import { inherited } from './plan-descriptors.ts';
import {
  firmwareArguments,
  generationArguments,
  iommuArguments,
  machineArguments,
  panicArguments,
} from './plan-machine.ts';
import { balloonArguments, memoryArguments, virtioMemArguments } from './plan-memory.ts';
import { opened } from './plan-paths.ts';

/**
 * What QEMU is told: a pure function.
 * The order of the arguments is fixed, so that two plans can be compared.
 */
export function plan(context: VmContext, binary: string): LaunchPlan {
  return planWith(context, binary, []);
}

/** @param added devices beside those that the configuration asks for, each with its place */
export function planWith(context: VmContext, binary: string, added: readonly Placed[]): LaunchPlan {
  const { config, runtimeFolder } = context;
  const devices = [...placedRoot(config), ...added];
  const { descriptors, numbers } = inherited(devices);
  const argv = [
    ...['-name', `${quoted(context.name)},debug-threads=on`],
    ...machineArguments(context),
    ...memoryArguments(context),
    // A guest that is loaded goes on or stands still as its new VMM was told, not as its former one did.
    ...['-global', 'migration.store-global-state=off'],
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot', '-msg', 'timestamp=on'],
    ...['-rtc', 'base=utc,driftfix=slew,clock=host'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...monitors(runtimeFolder),
    ...consoleLine(runtimeFolder),
    ...iommuArguments(config),
    ...bootDevices(config, runtimeFolder),
    ...devices.flatMap((placed) => asArguments(partsOf(placed, { ...context, descriptors: numbers }))),
    ...virtioMemArguments(context),
    ...balloonArguments(config),
    ...panicArguments(config),
    ...generationArguments(context),
    ...boot(context),
    ...serializeParams(config.hypervisorParams, ''),
  ];
  return {
    binary,
    argv,
    env: {},
    files: [
      { path: vmmFiles.eventsIn(runtimeFolder), content: '{"execute":"qmp_capabilities"}\n', mode: 0o600 },
      { path: vmmFiles.eventsOut(runtimeFolder), content: '', mode: 0o600 },
      { path: vmmFiles.console(runtimeFolder), content: '', mode: 0o600 },
    ],
    requests: [],
    networkNamespace: context.networkNamespace,
    ...(config.selinuxProcessLabel === undefined ? {} : { selinuxLabel: config.selinuxProcessLabel }),
    ...(descriptors.length > 0 ? { descriptors } : {}),
    ...opened(context, binary, devices),
  };
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

/** A serial line that one client at a time can talk on, and whose every word is logged, client or not. */
function consoleLine(runtimeFolder: string): string[] {
  const socket = quoted(vmmFiles.consoleSocket(runtimeFolder));
  const log = quoted(vmmFiles.console(runtimeFolder));
  return [
    ...['-chardev', `socket,id=console,path=${socket},server=on,wait=off,logfile=${log},logappend=on`],
    ...['-serial', 'chardev:console'],
  ];
}

function boot(context: VmContext): string[] {
  const { config } = context;
  const argv = ['-kernel', assetPath(config, 'kernel') ?? ''];
  const initrd = assetPath(config, 'initrd');
  if (initrd !== undefined) argv.push('-initrd', initrd);
  argv.push('-append', kernelLine(context));
  argv.push(...firmwareArguments(config));
  return argv;
}

/** The kernel's command line: ours first, so that the configuration's parameters win; what it sets itself is left to it. */
function kernelLine(context: VmContext): string {
  const { config } = context;
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const arm = machineFamily(config.machineType) === 'virt';
  const ours = [
    `console=${arm ? 'ttyAMA0' : 'ttyS0'}`,
    ...(arm ? [] : ['reboot=t']),
    'panic=-1',
    `nr_cpus=${config.maxVcpus}`,
    ...(arm ? [] : ['tsc=reliable', 'no_timer_check']),
    'rcupdate.rcu_expedited=1',
    'random.trust_cpu=on',
    'cryptomgr.notests',
    'net.ifnames=0',
    ...(config.iommu ? ['intel_iommu=on', 'iommu=pt'] : []),
    ...rootParams(config, '/dev/vda'),
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  // A guest that is to be dumped must not end when it panics.
  const stay = config.guestMemoryDumpPath === undefined ? [] : [{ key: 'panic', value: '0' }];
  return serializeParams([...missing, ...config.kernelParams, ...stay], '=').join(' ');
}
