import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import { connectAgent } from '../../src/guest/native/agent.ts';
import type { VmContext } from '../../src/hypervisors/hypervisor.ts';
import type { LaunchPlan } from '../../src/hypervisors/launch-plan.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { connectHybridVsock } from '../../src/transports/hybrid-vsock.ts';
import { restCall } from '../../src/transports/rest/client.ts';
import { connectUnix } from '../../src/transports/unix-socket.ts';

/**
 * A VMM with a REST API by hand: its program, the very requests, its vsock, a command. It is ended afterwards.
 * @returns ms to the command's output
 */
export async function byRest(
  { runtimeFolder }: VmContext,
  { binary, argv, files }: LaunchPlan,
  put: readonly { target: string; body?: unknown }[],
  { restored = false }: { restored?: boolean } = {},
): Promise<number> {
  const [socket, vsock] = [vmmFiles.apiSocket(runtimeFolder), vmmFiles.vsockSocket(runtimeFolder)];
  const began = performance.now();
  for (const { path, content } of files) await writeFile(path, content);
  // A guest that boots says on this port that it is up; one that goes on listens already.
  const listener = net.createServer().listen(`${vsock}_1025`);
  const heard = once(listener, 'connection');
  const child = spawn(binary, argv, { cwd: runtimeFolder, stdio: 'ignore' });
  (await connectUnix(socket)).destroy();
  for (const { target, body } of put) await restCall(socket, { method: 'PUT', target, body }, { timeoutMs: 60_000 });
  if (!restored) await heard;
  const agent = await connectAgent(await connectHybridVsock(vsock, 1024), { showsHangup: true, timeoutMs: 60_000 });
  await agent.exec(['echo', 'first'], { check: true });
  const took = performance.now() - began;
  await agent.close();
  child.kill('SIGKILL');
  await once(child, 'exit');
  listener.close();
  return took;
}
