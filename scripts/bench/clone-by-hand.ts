import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readHostFacts } from '../../src/config/host.ts';
import { connectAgent } from '../../src/guest/native/agent.ts';
import { feed } from '../../src/hypervisors/qemu/control-migration.ts';
import { restorePlan } from '../../src/hypervisors/qemu/plan-restore.ts';
import { machineFile, readSaved, readStream, savedFiles } from '../../src/hypervisors/qemu/state-saved.ts';
import type { TemplateInfo } from '../../src/sandbox/template.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { connectUnix } from '../../src/transports/unix-socket.ts';
import { type BareVm, startBare } from './bare.ts';

/** Makes a clone with nothing around it: a QEMU, its state, its agent. */
export type HandCloner = () => Promise<BareVm>;

/** Everything that is known beforehand is found out here. */
export async function cloneByHand({ folder, config, accel }: TemplateInfo): Promise<HandCloner> {
  const { qemu } = await import('../../src/hypervisors/qemu/index.ts');
  const host = await readHostFacts();
  const binary = (await qemu.probe(host)).path;
  if (binary === undefined) throw new Error('there is no QEMU');
  const saved = await readSaved(machineFile(folder));
  const { memory, stream } = savedFiles(folder, saved);

  return async () => {
    const runtimeFolder = mkdtempSync(path.join(tmpdir(), 'pvb-'));
    const id = randomBytes(6).toString('hex');
    const own = { id, name: id, runtimeFolder, stateFolder: runtimeFolder, pruneArgv: [] };
    const context = { ...own, config, accel, hostMemoryMiB: host.memoryMiB };
    const plan = restorePlan(context, binary, saved, memory, true);
    return startBare(plan, runtimeFolder, async () => {
      const connected = connectUnix(vmmFiles.agentSocket(runtimeFolder, 0));
      const fed = feed(vmmFiles.migration(runtimeFolder), await readStream(stream, saved), {});
      const agent = await connectAgent(await connected, { showsHangup: true });
      await fed;
      return agent;
    });
  };
}
