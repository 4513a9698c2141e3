import { afterAll, beforeAll, it } from 'vitest';
import { type Actor, checkModel, startActor } from '../model/model.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest } from './guest.ts';

// The compiler that tsx runs beside each actor; keepers of VMs that one actor took over and the other one ended go with the first.
keepsAcrossTests('process', /esbuild|polyvisor-keeper|polyvisor-watch|^\d+ \/bin\/sh -c pid=/);

let actors: [Actor, Actor];
beforeAll(async () => {
  actors = [await startActor(), await startActor()];
});
afterAll(async () => {
  for (const actor of actors) await actor.end();
});

it('two processes that use one real guest at random see what is so', () =>
  checkModel({ actors, options: smallGuest }, 3, 10));
