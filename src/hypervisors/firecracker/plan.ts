import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan, PlannedPath, PlannedRequest } from '../launch-plan.ts';
import type { BootSource, MachineConfiguration } from './wire.ts';

/** The guest's context id: each Firecracker ends vsock by itself, so all guests may have the same. */
const guestCid = 3;

/** What Firecracker is told: a pure function. The API gets the requests in their order, and starts the guest with the last. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  const { runtimeFolder } = context;
  const argv = ['--id', context.id, '--api-sock', vmmFiles.apiSocket(runtimeFolder)];
  return {
    binary,
    argv,
    env: {},
    files: [
      { path: vmmFiles.console(runtimeFolder), content: '', mode: 0o600 },
      { path: vmmFiles.ownLog(runtimeFolder), content: '', mode: 0o600 },
      { path: vmmFiles.metrics(runtimeFolder), content: '', mode: 0o600 },
    ],
    requests: requests(context),
    paths: paths(context),
  };
}

function requests(context: VmContext): PlannedRequest[] {
  const { config, runtimeFolder } = context;
  const put = (target: string, body: unknown): PlannedRequest => ({ method: 'PUT', target, body });
  return [
    put('/logger', {
      log_path: vmmFiles.ownLog(runtimeFolder),
      level: config.debug ? 'Debug' : 'Warning',
      show_level: true,
    }),
    put('/metrics', { metrics_path: vmmFiles.metrics(runtimeFolder) }),
    put('/serial', { serial_out_path: vmmFiles.console(runtimeFolder) }),
    put('/machine-config', machine(context)),
    put('/boot-source', boot(context)),
    put('/entropy', {}),
    put('/vsock', { guest_cid: guestCid, uds_path: vmmFiles.vsockSocket(runtimeFolder) }),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/** What it opens beside its own folder. */
function paths({ config }: VmContext): PlannedPath[] {
  const assets = [assetPath(config, 'kernel'), assetPath(config, 'initrd')].filter((path) => path !== undefined);
  return [
    ...assets.map((path): PlannedPath => ({ path, access: 'read' })),
    { path: '/dev/kvm', access: 'write' },
    { path: '/dev/urandom', access: 'read', optional: true },
  ];
}

function machine({ config }: VmContext): MachineConfiguration {
  return {
    vcpu_count: config.vcpus,
    mem_size_mib: config.memoryMiB,
    smt: false,
    huge_pages: config.hugePages ? '2M' : 'None',
    track_dirty_pages: false,
  };
}

function boot(context: VmContext): BootSource {
  const initrd = assetPath(context.config, 'initrd');
  return {
    kernel_image_path: assetPath(context.config, 'kernel') ?? '',
    ...(initrd === undefined ? {} : { initrd_path: initrd }),
    boot_args: kernelLine(context),
  };
}

/** Ours first, so that the configuration's parameters win. `reboot=k`: the keyboard controller is all that Firecracker listens to for it. */
function kernelLine({ config }: VmContext): string {
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const ours = [
    'console=ttyS0',
    'reboot=k',
    'panic=-1',
    `nr_cpus=${config.vcpus}`,
    'tsc=reliable',
    'net.ifnames=0',
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  return serializeParams([...missing, ...config.kernelParams], '=').join(' ');
}
