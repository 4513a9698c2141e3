// Runs in the lab: Firecracker through this library against the bare binary with the same configuration, both from this one process, by turns.
// Prints one line of JSON. POLYVISOR_LAB_PAIRS: how many pairs (default 15).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import { connectAgent } from '../../src/guest/native/agent.ts';
import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { savedFiles } from '../../src/hypervisors/firecracker/state-saved.ts';
import type { VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { linkAgent } from '../../src/sandbox/agent-link.ts';
import { VmStore } from '../../src/state/store.ts';
import { connectHybridVsock } from '../../src/transports/hybrid-vsock.ts';
import { restCall } from '../../src/transports/rest/client.ts';
import { connectUnix } from '../../src/transports/unix-socket.ts';
import { defaultGuest } from '../../test/lab/guest.ts';
import { median, ratio } from '../bench/statistics.ts';

const pairs = Number(process.env['POLYVISOR_LAB_PAIRS'] ?? 15);
const host = await readHostFacts();
const { path: binary = '' } = await firecracker.probe(host);
const config = completeConfig({ ...(await defaultGuest()), vcpus: 1 }, { fields: firecracker.fields, host });
const store = new VmStore();
const scratch = await mkdtemp(path.join(tmpdir(), 'fc-bench-'));
let serial = 0;

/** Milliseconds to the first command's output through this library. */
async function ours(snapshot?: string, saveTo?: string): Promise<number> {
  const name = `bench-${++serial}`;
  const record = await store.create({ name, hypervisor: firecracker.type });
  const { id, runtimeFolder } = record;
  const stateFolder = store.folder(name);
  const context: VmContext = {
    id,
    name,
    config,
    accel: 'kvm',
    hostMemoryMiB: host.memoryMiB,
    runtimeFolder,
    stateFolder,
    pruneArgv: [],
  };
  const hypervisor = manage(firecracker, context);
  const began = performance.now();
  await hypervisor.create();
  if (snapshot === undefined) await hypervisor.start();
  else {
    await hypervisor.restore(snapshot);
    await hypervisor.resume();
  }
  const link = await linkAgent(stateFolder, hypervisor.channels(), { timeoutMs: 120_000 });
  await link.agent.exec(['echo', 'first'], { check: true });
  const took = performance.now() - began;
  await link.close();
  if (saveTo !== undefined) {
    await hypervisor.pause();
    await hypervisor.save(saveTo);
  }
  await hypervisor.kill();
  await hypervisor.cleanup();
  await store.remove(name);
  return took;
}

/** The same by hand: the program, the very requests of the plan, the vsock. */
async function byHand(snapshot?: string): Promise<number> {
  const runtimeFolder = path.join(scratch, `hand-${++serial}`);
  await mkdir(runtimeFolder);
  const context = {
    id: 'abcdef012345',
    name: 'hand',
    config,
    runtimeFolder,
    hostMemoryMiB: host.memoryMiB,
  } as VmContext;
  const { argv, files, requests } = firecracker.plan(context, binary);
  const socket = path.join(runtimeFolder, 'api.sock');
  const vsock = path.join(runtimeFolder, 'vsock.sock');
  const began = performance.now();
  for (const file of files) await writeFile(file.path, '');
  const listener = net.createServer().listen(`${vsock}_1025`);
  const heard = once(listener, 'connection');
  const child = spawn(binary, argv, { cwd: runtimeFolder, stdio: 'ignore' });
  (await connectUnix(socket)).destroy();
  if (snapshot === undefined) {
    for (const { target, body } of requests)
      await restCall(socket, { method: 'PUT', target, body }, { timeoutMs: 60_000 });
    await heard;
  } else {
    await symlink(savedFiles.memory(snapshot), path.join(runtimeFolder, 'mem'));
    await symlink(savedFiles.state(snapshot), path.join(runtimeFolder, 'state'));
    for (const { target, body } of requests.slice(0, 3)) await restCall(socket, { method: 'PUT', target, body });
    const body = {
      snapshot_path: 'state',
      mem_backend: { backend_type: 'File', backend_path: 'mem' },
      resume_vm: true,
    };
    await restCall(socket, { method: 'PUT', target: '/snapshot/load', body }, { timeoutMs: 60_000 });
  }
  const agent = await connectAgent(await connectHybridVsock(vsock, 1024), { showsHangup: true, timeoutMs: 60_000 });
  await agent.exec(['echo', 'first'], { check: true });
  const took = performance.now() - began;
  await agent.close();
  child.kill('SIGKILL');
  await once(child, 'exit');
  listener.close();
  await rm(runtimeFolder, { recursive: true });
  return took;
}

const snapshot = path.join(scratch, 'snapshot');
await mkdir(snapshot);
await ours(undefined, snapshot);
await byHand();
const boots: [number, number][] = [];
const restores: [number, number][] = [];
for (let pair = 0; pair < pairs; pair++) {
  // Whoever is second finds the caches of the first: they take turns.
  const first = pair % 2 === 0;
  const turn = async (from?: string): Promise<[number, number]> => {
    if (first) return [await ours(from), await byHand(from)];
    const theirs = await byHand(from);
    return [await ours(from), theirs];
  };
  boots.push(await turn());
  restores.push(await turn(snapshot));
  console.error(
    `pair ${pair + 1}: boot ${boots.at(-1)?.map(Math.round).join('/')} ms, restore ${restores.at(-1)?.map(Math.round).join('/')} ms`,
  );
}
await rm(scratch, { recursive: true });
const rows = {
  firecrackerBootRatio: { ...ratio(boots), most: 1.05 },
  firecrackerRestoreRatio: { ...ratio(restores), most: 1.1 },
  firecrackerRestoreToBoot: { ...ratio(restores.map(([one], at) => [one, boots[at]?.[0] ?? Number.NaN])), most: 0.3 },
  firecrackerBootMs: { value: median(boots.map(([one]) => one)) },
  firecrackerRestoreMs: { value: median(restores.map(([one]) => one)) },
};
console.log(JSON.stringify(rows));
