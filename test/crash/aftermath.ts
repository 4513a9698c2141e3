import { readdirSync, readFileSync } from 'node:fs';
import { listVms, removeVm } from '../../src/sandbox/inspect.ts';
import { prune } from '../../src/sandbox/prune.ts';
import { places } from '../../src/state/paths.ts';
import { processesNaming, until } from '../fakes/child.ts';

/** What may be there once a process that was struck is gone. */
export interface Allowed {
  /** a VM that lives on, because it was detached before */
  detached: boolean;
  /** files that `prune` takes; without it nothing may be left even before */
  remains: boolean;
}

/**
 * Looks at what a process left that used the one VM of this home: `ls` must tell the truth of it, nothing that is owned may run,
 * and after `prune` there may be nothing. Removes what was allowed to stay.
 * @returns what is wrong, in words; an empty list is a pass
 */
export async function aftermath(allowed: Allowed): Promise<string[]> {
  const wrong: string[] = [];
  const say = (what: string): void => void wrong.push(what);
  // What dies with its owner is killed by another process, which then prunes: both take a moment.
  await until('only detached VMMs run', async () => {
    const vmms = new Set((await listVms()).filter((vm) => vm.detached).map(({ pid }) => pid));
    return others().every(([pid]) => vmms.has(pid));
  }).catch(async () =>
    say(
      `these run on: ${others()
        .map(([, line]) => line)
        .join('; ')}, and ls says ${await listed()}`,
    ),
  );

  const clearsUp = !allowed.remains && !allowed.detached;
  // A shell that is becoming the prune command has no command line for a moment, and is not found above.
  if (clearsUp) await until('its files are gone', () => leftFiles().length === 0).catch(() => undefined);

  for (const vm of await listVms()) {
    const alive = vm.status === 'running' || vm.status === 'paused';
    if (vm.status === 'creating' || vm.status === 'created') say(`ls says ${vm.status}, and its maker is dead`);
    if (vm.status === 'broken') say(`ls says broken: ${vm.problem}`);
    if (alive && !vm.detached) say('ls says that an owned VM runs');
    if (alive && !others().some(([pid]) => pid === vm.pid)) say(`ls says that ${vm.pid} runs, and it does not`);
    if (vm.detached && !allowed.detached) say('a VM is detached that should not be there');
  }
  if (clearsUp) say2(leftFiles(), 'is left before any prune', say);

  await prune();
  const kept = await listVms();
  for (const vm of kept) {
    if (!vm.detached) say(`prune leaves ${vm.name}, ${vm.status}`);
    await removeVm(vm.name, { force: true }).catch((error: unknown) => say(`rm -f fails: ${String(error)}`));
  }
  await until('no process is left', () => others().length === 0).catch(() =>
    say(`these run after all: ${others().join('; ')}`),
  );
  say2(leftFiles(), 'is left after prune', say);
  say2(sockets(), 'is a socket that is left', say);
  return wrong;
}

function say2(names: readonly string[], what: string, say: (words: string) => void): void {
  for (const name of names) say(`${name} ${what}`);
}

const home = (): string => process.env['POLYVISOR_HOME'] ?? 'no home';

/** Processes of this home, this one left out. */
function others(): [number, string][] {
  return [...processesNaming(home())].filter(([pid]) => pid !== process.pid);
}

async function listed(): Promise<string> {
  return JSON.stringify((await listVms()).map(({ status, pid, detached }) => ({ status, pid, detached })));
}

function leftFiles(): string[] {
  const { vms, runtime } = places();
  return [vms, runtime].flatMap((folder) =>
    readdirSync(folder, { recursive: true }).map((name) => `${folder}/${name as string}`),
  );
}

function sockets(): string[] {
  const lines = readFileSync('/proc/net/unix', 'latin1').split('\n');
  return lines.map((line) => line.split(' ').at(-1) ?? '').filter((name) => name.startsWith(home()));
}
