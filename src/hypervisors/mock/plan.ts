import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { assetPath } from '../../config/assets.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import type { MockMachine } from './wire.ts';

/** How many processes can talk with the agent at once. */
export const agentChannels = 8;

/** What the mock's VMM, the guest agent as a process of the host, is told: a pure function. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  const { config, runtimeFolder, stateFolder } = context;
  const root = assetPath(config, 'image') === undefined ? [] : ['--root', vmFiles.root(stateFolder)];
  const machine: MockMachine = {
    schema: 1,
    vcpus: config.vcpus,
    memoryMiB: config.memoryMiB,
    paused: false,
    devices: [],
  };
  return {
    binary,
    argv: ['--host', runtimeFolder, '--channels', String(agentChannels), ...root],
    env: {},
    files: [{ path: vmmFiles.machine(runtimeFolder), content: `${JSON.stringify(machine)}\n`, mode: 0o600 }],
    requests: [],
    paths: [],
    networkNamespace: context.networkNamespace,
    // What its commands write is the user's own affair.
    largestFileBytes: 'unlimited',
  };
}
