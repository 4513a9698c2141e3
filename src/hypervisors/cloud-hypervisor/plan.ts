import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan, PlannedPath } from '../launch-plan.ts';
import type { VmConfig } from './wire.ts';

/** The guest's context id: each VMM ends vsock by itself, so all guests may have the same. */
const guestCid = 3;

/** What Cloud Hypervisor is told: a pure function. The API gets the requests in their order, and boots the guest with the last. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  const { runtimeFolder } = context;
  const verbosity = context.config.debug ? ['-vv'] : ['-v'];
  return {
    binary,
    argv: ['--api-socket', `path=${vmmFiles.apiSocket(runtimeFolder)}`, '--seccomp', 'true', ...verbosity],
    env: {},
    files: [{ path: vmmFiles.console(runtimeFolder), content: '', mode: 0o600 }],
    requests: [
      { method: 'PUT', target: '/api/v1/vm.create', body: vmConfig(context) },
      { method: 'PUT', target: '/api/v1/vm.boot' },
    ],
    paths: paths(context),
  };
}

/** What it opens beside its own folder. */
function paths({ config }: VmContext): PlannedPath[] {
  const assets = [assetPath(config, 'kernel'), assetPath(config, 'initrd')].filter((path) => path !== undefined);
  return [
    ...assets.map((path): PlannedPath => ({ path, access: 'read' })),
    { path: '/dev/kvm', access: 'write' },
    { path: config.entropySource, access: 'read' },
  ];
}

function vmConfig(context: VmContext): VmConfig {
  const { config, runtimeFolder } = context;
  const initrd = assetPath(config, 'initrd');
  return {
    cpus: { boot_vcpus: config.vcpus, max_vcpus: config.maxVcpus },
    memory: { size: config.memoryMiB * 2 ** 20, hugepages: config.hugePages, prefault: config.memPrealloc },
    payload: {
      kernel: assetPath(config, 'kernel') ?? '',
      ...(initrd === undefined ? {} : { initramfs: initrd }),
      cmdline: kernelLine(context),
    },
    serial: { mode: 'File', file: vmmFiles.console(runtimeFolder) },
    console: { mode: 'Off' },
    rng: { src: config.entropySource },
    vsock: { cid: guestCid, socket: vmmFiles.vsockSocket(runtimeFolder) },
  };
}

/** Ours first, so that the configuration's parameters win. */
function kernelLine({ config }: VmContext): string {
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const ours = [
    'console=ttyS0',
    'reboot=t',
    'panic=-1',
    `nr_cpus=${config.maxVcpus}`,
    'tsc=reliable',
    'net.ifnames=0',
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  return serializeParams([...missing, ...config.kernelParams], '=').join(' ');
}
