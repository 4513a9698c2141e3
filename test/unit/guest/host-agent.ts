import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { GuestAgent } from '../../../src/guest/agent.ts';
import { agentBinary } from '../../../src/config/package-files.ts';
import { connectAgent } from '../../../src/guest/native/agent.ts';

export interface Guest {
  process: ChildProcess;
  connect(channel?: number, showsHangup?: boolean): Promise<GuestAgent>;
  stop(): Promise<void>;
}

/** The agent as a process of this host, with two channels. */
export async function startGuest(): Promise<Guest> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'guest-'));
  const child = spawn(agentBinary, ['--host', folder, '--channels', '2'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout);
  for await (const line of lines) if (line.endsWith('ready')) break;
  child.stdout.resume();
  return {
    process: child,
    connect: async (channel = 0, showsHangup = true) => {
      const stream = net.connect(path.join(folder, `agent${channel}.sock`));
      return await connectAgent(stream, { showsHangup, timeoutMs: 5000 });
    },
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
