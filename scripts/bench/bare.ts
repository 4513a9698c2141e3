import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { GuestAgent } from '../../src/guest/agent.ts';
import { connectAgent } from '../../src/guest/native/agent.ts';
import type { LaunchPlan } from '../../src/hypervisors/launch-plan.ts';
import { prepare } from '../../src/sandbox/prepare.ts';
import { splitOptions, type VmOptions } from '../../src/sandbox/vm-options.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { connectUnix } from '../../src/transports/unix-socket.ts';

/** A VMM started by hand, with what our plan says and nothing around it. */
export interface BareVm {
  agent: GuestAgent;
  /** with its sockets */
  folder: string;
  end(): Promise<void>;
}

/** Makes a function that starts bare machines: everything that is known beforehand is found out here. */
export async function bareStarter(
  options: VmOptions,
  edit: (argv: readonly string[]) => readonly string[] = (argv) => argv,
): Promise<() => Promise<BareVm>> {
  const { module, config, accel, host } = await prepare(splitOptions(options), () => undefined);
  const verdict = await module.probe(host);
  const binary = verdict.path;
  if (binary === undefined) throw new Error(verdict.findings.map((it) => it.problem).join('; '));

  return async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'pvb-'));
    const id = randomBytes(6).toString('hex');
    const context = {
      id,
      name: id,
      config,
      accel,
      hostMemoryMiB: host.memoryMiB,
      runtimeFolder: folder,
      stateFolder: folder,
    };
    const plan = module.plan({ ...context, pruneArgv: [] }, binary);
    return startBare({ ...plan, argv: edit(plan.argv) }, folder, async () => {
      const stream = await connectUnix(vmmFiles.agentSocket(folder, 0));
      return connectAgent(stream, { showsHangup: true });
    });
  };
}

/** Starts what a plan says, in a folder that goes with it. @param connect reaches its agent */
export async function startBare(
  plan: Pick<LaunchPlan, 'binary' | 'argv' | 'files'>,
  folder: string,
  connect: () => Promise<GuestAgent>,
): Promise<BareVm> {
  for (const { path: file, content, mode } of plan.files) writeFileSync(file, content, { mode });
  const vmm = spawn(plan.binary, plan.argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const end = async (): Promise<void> => {
    await killed(vmm);
    rmSync(folder, { recursive: true });
  };
  try {
    const agent = await connect();
    return {
      agent,
      folder,
      end: async () => {
        await agent.close();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
