import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  confine,
  type Confined,
  type ConfinementRequest,
  releaseConfinement,
} from '../../../src/confinement/confinement.ts';
import { vmFiles } from '../../../src/state/paths.ts';
import { launch } from '../../../src/transports/process/launch.ts';
import type { LaunchedProcess } from '../../../src/transports/process/launched-process.ts';
import { until } from '../transports/process/workspace.ts';

/** A program in a VMM's place that does what it is asked: what it can see and do is what a VMM could. */
export interface Probe {
  confined: Confined;
  launched: LaunchedProcess;
  state: string;
  runtime: string;
  pid: number;
  /** runs shell commands in it; resolves with all that they print */
  ask(command: string): Promise<string>;
  end(): Promise<void>;
}

/** Reads commands from one FIFO and answers on another: it has neither stdin nor /proc. */
const script = `#!/bin/sh
cd "$1" && mkfifo in out && : >ready
while :; do
  read -r line <in || continue
  eval "$line" >out 2>&1
done
`;

export async function startProbe(
  more: Partial<ConfinementRequest> & Pick<ConfinementRequest, 'level'>,
): Promise<Probe> {
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-confined-'));
  const [state, runtime] = [path.join(folder, 'state'), path.join(folder, 'run')];
  for (const one of [state, runtime]) mkdirSync(one, { mode: 0o700 });
  const binary = path.join(folder, 'probe');
  writeFileSync(binary, script, { mode: 0o755 });
  const id = randomBytes(6).toString('hex');
  const end = async (launched?: LaunchedProcess): Promise<void> => {
    await launched?.end();
    await releaseConfinement(state, id);
    rmSync(folder, { recursive: true });
  };
  try {
    const request = {
      id,
      stateFolder: state,
      runtimeFolder: runtime,
      binary,
      memoryMiB: 64,
      vcpus: 1,
      emulated: false,
    };
    const confined = await confine({ ...request, hugePages: false, paths: [], ...more });
    const launched = await launch({
      keeperThrough: confined.through.keeper,
      preparation: confined.through.preparation,
      through: confined.through.program,
      meanwhile: confined.make,
      maxFileBytes: confined.plan.maxFileBytes,
      argv: [binary, runtime],
      lease: vmFiles.lease(state),
      alive: vmFiles.alive(state),
      exitFile: vmFiles.exit(state),
      startFile: vmFiles.start(state),
      stdout: vmFiles.vmmLog(state),
      stderr: vmFiles.vmmLog(state),
    });
    await until('the probe is ready', () => existsSync(path.join(runtime, 'ready')));
    const ask = async (command: string): Promise<string> => {
      const answer = readFile(path.join(runtime, 'out'), 'utf8');
      await writeFile(path.join(runtime, 'in'), `${command}\n`);
      return (await answer).trim();
    };
    return { confined, launched, state, runtime, pid: launched.pid, ask, end: () => end(launched) };
  } catch (error) {
    await end();
    throw error;
  }
}
