import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { TemplateStore } from '../../src/factory/template-store.ts';
import { listTemplates, removeTemplate } from '../../src/sandbox/template.ts';
import { places } from '../../src/state/paths.ts';
import { type Owner, startCacheServer, startTaker } from '../fakes/child.ts';
import { aftermath } from './aftermath.ts';
import { randomFrom, seed } from './random.ts';

const random = randomFrom(seed);
const nothing = { detached: false, remains: false } as const;
const all = process.env['POLYVISOR_CRASH'] === 'all';
const script = fileURLToPath(new URL('factory-owner.js', import.meta.url));

/** Lets a program make its template, clone and fork, or as much as it gets. */
async function live(killAfterMs?: number): Promise<number> {
  const began = performance.now();
  const owner = spawn(process.execPath, [script], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(owner, 'exit');
  if (killAfterMs !== undefined) {
    await Promise.race([delay(killAfterMs), ended]);
    owner.kill('SIGKILL');
  }
  const [code] = (await ended) as [number | null];
  if (killAfterMs === undefined && code !== 0) throw new Error(`the maker ends with ${code}`);
  return performance.now() - began;
}

/** What half-made templates and forks have left once the next one was made: nothing, in tmpfs neither. */
async function templatesLeft(): Promise<string[]> {
  const folder = places().templates;
  const ids = (): string[] => readdirSync(folder).flatMap((name) => /[0-9a-f]{12}/.exec(name)?.[0] ?? []);
  const begun = ids();
  await new TemplateStore().sweep();
  // One that was published is whole.
  for (const { name, state } of await listTemplates()) {
    if (state !== 'ready') return [`the template ${name} is ${state}`];
    await removeTemplate(name);
  }
  const tmpfs = begun.map((id) => `/dev/shm/polyvisor-${process.geteuid?.()}-${id}`).filter((it) => existsSync(it));
  return [...readdirSync(folder), ...tmpfs].map((it) => `${it} is left`);
}

it('who makes a template, a clone and a fork and is killed at random moments leaves nothing', async () => {
  const lifeMs = await live();
  const wrong = [...(await aftermath(nothing)), ...(await templatesLeft())];
  for (let nth = 1; nth <= (all ? 100 : 6); nth++) {
    const afterMs = random() * lifeMs;
    await live(afterMs);
    const problems = [...(await aftermath(nothing)), ...(await templatesLeft())];
    wrong.push(
      ...problems.map((words) => `POLYVISOR_SEED=${seed}, kill ${nth}, after ${Math.round(afterMs)} ms: ${words}`),
    );
  }
  expect(wrong).toEqual([]);
});

it('a cache server and its clients that are killed while VMs are handed over lose none', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-crash-'));
  const endpoint = path.join(folder, 'cache.sock');
  const wrong: string[] = [];
  // From the start of a client to where it has its VM.
  let takeMs = 0;
  try {
    for (let nth = 0; nth <= (all ? 50 : 4); nth++) {
      // A socket that the server before has left is replaced.
      const server = startCacheServer(endpoint, 2);
      await server.phase('filled');
      const began = performance.now();
      const takers = [startTaker(endpoint, 'hold'), startTaker(endpoint, 'hold')];
      const taken = Promise.all(takers.map((taker) => taker.created()));
      taken.catch(() => undefined);
      if (nth === 0) {
        await taken;
        takeMs = performance.now() - began;
      }
      const victims: Owner[] = random() < 0.5 ? [server, ...takers] : [...takers, server];
      for (const victim of victims) {
        await delay((random() * takeMs) / victims.length);
        await victim.kill();
      }
      wrong.push(...(await aftermath(nothing)).map((words) => `POLYVISOR_SEED=${seed}, round ${nth}: ${words}`));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  expect(wrong).toEqual([]);
});
