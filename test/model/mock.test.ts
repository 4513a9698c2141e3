import { afterAll, beforeAll, it } from 'vitest';
import { keepsAcrossTests } from '../support/leaks.ts';
import { type Actor, checkModel, startActor } from './model.ts';

// The compiler that tsx runs beside each actor.
keepsAcrossTests('process', /esbuild/);
// An actor that has stopped its VM keeps its watch, also when the other one has removed that VM since.
keepsAcrossTests('process', /polyvisor-watch/);

let actors: [Actor, Actor];
beforeAll(async () => {
  actors = [await startActor(), await startActor()];
});
afterAll(async () => {
  for (const actor of actors) await actor.end();
});

const runs = process.env['POLYVISOR_CRASH'] === 'all' ? 300 : 25;

it('two processes that use one mock VM at random see what is so', () =>
  checkModel({ actors, options: { hypervisor: 'mock' } }, runs, 14));
