import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { recall } from '../../src/sandbox/context.ts';
import { listVms, removeVm } from '../../src/sandbox/inspect.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { isAlive } from '../../src/state/process-identity.ts';
import { VmStore } from '../../src/state/store.ts';
import { seed } from '../crash/random.ts';
import type { Answer, Order } from './actor.ts';

/** What there should be: at most one VM, and two processes that may hold it. */
interface Model {
  vm: { id: string; name: string; status: 'running' | 'paused' | 'stopped'; owners: readonly Who[] } | undefined;
  /** the VM that each process holds, were it a removed one, and whether its handle is one that owns it */
  holds: [Hold | undefined, Hold | undefined];
}
interface Hold {
  id: string;
  owns: boolean;
}
type Who = 0 | 1;
type Verb = Order['do'];
type Vm = NonNullable<Model['vm']>;

/** What the model says of an order: whether it has to succeed, to fail or may do either; and what is so once it succeeded. */
interface Expectation {
  outcome: 'works' | 'fails' | 'either';
  effect?: (model: Model, value: unknown) => void;
}

const names = ['model', 'other'] as const;

/** The rules, one for each verb. `vm` is the VM that this process holds, if it is still there. */
function expected(model: Model, who: Who, order: Order, vm: Vm | undefined): Expectation {
  const fails: Expectation = { outcome: 'fails' };
  const there = model.vm;
  const change = (outcome: 'works' | 'either', to: Partial<Vm>): Expectation => ({
    outcome,
    effect: (now) => {
      if (now.vm !== undefined) Object.assign(now.vm, to);
    },
  });
  const hold: Expectation['effect'] = (now, value) => {
    now.holds[who] = { id: value as string, owns: false };
  };
  const owns = model.holds[who]?.owns === true;
  switch (order.do) {
    case 'create': {
      if (there?.name === order.options.name) return fails;
      // One VM at a time: the model would not know of a second.
      const { name = '', detached = false } = order.options;
      return {
        outcome: 'works',
        effect: (now, value) => {
          now.vm = { id: value as string, name, status: 'running', owners: detached ? [] : [who] };
          now.holds[who] = { id: value as string, owns: true };
        },
      };
    }
    case 'connect':
      return there?.name === order.name && there.status === 'running' ? { outcome: 'works', effect: hold } : fails;
    case 'open':
      return there?.name === order.name ? { outcome: 'works', effect: hold } : fails;
    case 'close':
      return {
        outcome: 'works',
        effect: (now) => {
          now.holds[who] = undefined;
        },
      };
    case 'prune':
      return { outcome: 'works' };
    case 'rename':
      if (vm === undefined || vm.name === order.name) return fails;
      return change('works', { name: order.name });
    case 'exec':
      return vm?.status === 'running' ? { outcome: 'either' } : fails;
    case 'start': {
      if (vm === undefined || vm.status !== 'stopped') return fails;
      const [first = who] = vm.owners;
      if (first !== who) return fails;
      return {
        outcome: 'works',
        effect: (now) => {
          Object.assign(vm, { status: 'running', owners: vm.owners.length === 0 ? [] : [who] });
          now.holds[who] = { id: vm.id, owns: true };
        },
      };
    }
    case 'pause':
      return vm?.status === 'running' ? change('works', { status: 'paused' }) : fails;
    case 'resume':
      return vm?.status === 'paused' ? change('works', { status: 'running' }) : fails;
    case 'stop':
    case 'kill':
      if (vm === undefined) return fails;
      return vm.status === 'stopped' ? { outcome: 'either' } : change('works', { status: 'stopped' });
    case 'adopt':
      if (vm === undefined || vm.status === 'stopped') return fails;
      return {
        outcome: 'works',
        effect: (now) => {
          if (!vm.owners.includes(who)) vm.owners = [...vm.owners, who];
          now.holds[who] = { id: vm.id, owns: true };
        },
      };
    case 'detach':
      if (vm === undefined) return fails;
      // Another handle of the owning process may have to take the VM over first.
      if (vm.owners.includes(who)) return change(owns ? 'works' : 'either', { owners: [] });
      return vm.owners.length === 0 ? { outcome: 'either' } : fails;
    case 'remove':
      return {
        outcome: 'either',
        effect: (now) => {
          if (vm !== undefined) now.vm = undefined;
        },
      };
    default:
      throw new Error('there is no such order');
  }
}

/** The two processes and what they may use. */
export interface World {
  actors: readonly [Actor, Actor];
  options: VmOptions;
}

/** A process that does what it is told. */
export interface Actor {
  tell(order: Order): Promise<Answer>;
  end(): Promise<void>;
}

/** Starts a process that does what it is told. */
export async function startActor(): Promise<Actor> {
  const script = fileURLToPath(new URL('actor.ts', import.meta.url));
  const child: ChildProcess = fork(script, {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await once(child, 'message');
  return {
    tell: async (order) => {
      const answer = once(child, 'message') as Promise<[Answer]>;
      child.send(order);
      return (await answer)[0];
    },
    end: async () => {
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
}

/** One order to one process. */
class Step implements fc.AsyncCommand<Model, World> {
  readonly #who: Who;
  readonly #order: Order;

  constructor(who: Who, order: Order) {
    this.#who = who;
    this.#order = order;
  }

  check({ vm }: Readonly<Model>): boolean {
    // One VM at a time: the model does not know of a second.
    const { options } = { options: undefined, ...this.#order };
    return this.#order.do !== 'create' || vm === undefined || vm.name === options?.name;
  }

  async run(model: Model, { actors, options }: World): Promise<void> {
    const held = model.holds[this.#who];
    const vm = held !== undefined && model.vm?.id === held.id ? model.vm : undefined;
    const order =
      this.#order.do === 'create' ? { ...this.#order, options: { ...options, ...this.#order.options } } : this.#order;
    const { outcome, effect } = expected(model, this.#who, order, vm);
    const answer = await actors[this.#who].tell(order);
    const told = JSON.stringify(answer);
    if (outcome === 'works' && !answer.ok) throw new Error(`${this.toString()} has to work, and answers ${told}`);
    if (outcome === 'fails' && answer.ok) throw new Error(`${this.toString()} has to fail, and answers ${told}`);
    if (!answer.ok && ['UNTYPED', 'INTERNAL'].includes(answer.code))
      throw new Error(`${this.toString()} fails with ${told}`);
    if (answer.ok) effect?.(model, answer.value);
    await compare(model, this.toString());
  }

  toString(): string {
    const { do: verb, ...words } = this.#order;
    return `${'AB'[this.#who] ?? ''}.${verb}(${Object.keys(words).length === 0 ? '' : JSON.stringify(words)})`;
  }
}

/** Holds the model against `ls`, and both against the VMM. */
async function compare({ vm }: Readonly<Model>, after: string): Promise<void> {
  const say = (what: string): never => {
    throw new Error(`after ${after}: ${what}; the model says ${JSON.stringify(vm)}`);
  };
  const listed = await listVms();
  const [found] = listed;
  if (listed.length !== (vm === undefined ? 0 : 1)) say(`ls says ${JSON.stringify(listed)}`);
  if (vm === undefined || found === undefined) return;
  if (found.id !== vm.id || found.name !== vm.name || found.status !== vm.status)
    say(`ls says ${JSON.stringify(found)}`);
  if (found.detached !== (vm.owners.length === 0)) say(`ls says detached: ${found.detached}`);
  const store = new VmStore();
  const record = await store.read(vm.name);
  const alive = record.vmm !== undefined && isAlive(record.vmm);
  if (alive !== (vm.status !== 'stopped')) say(`the VMM is ${alive ? 'alive' : 'dead'}`);
  if (!alive) return;
  const { module, context } = await recall(store, record);
  const driver = module.driver(context);
  await driver.loadState(record.driver);
  const state = await driver.runState();
  if (state !== vm.status) say(`the VMM says ${state}`);
}

const plain: readonly Verb[] = [
  'exec',
  'start',
  'pause',
  'resume',
  'stop',
  'kill',
  'detach',
  'adopt',
  'remove',
  'close',
  'prune',
];
const whos = fc.constantFrom<Who>(0, 1);
const someNames = fc.constantFrom(...names);
const creations = fc
  .tuple(whos, someNames, fc.boolean())
  .map(([who, name, detached]) => new Step(who, { do: 'create', options: { name, detached } }));
const connections = fc
  .tuple(whos, fc.constantFrom('connect', 'open', 'rename'), someNames)
  .map(([who, verb, name]) => new Step(who, { do: verb, name }));
const others = fc.tuple(whos, fc.constantFrom(...plain)).map(([who, verb]) => new Step(who, { do: verb } as Order));

/**
 * Gives two processes random orders, and holds state, `ls` and the VMM against the model after each. When they disagree it fails with
 * fast-check's seed and the shortest orders that show it.
 * @param runs how many times it begins anew, with a VM that one of them makes and the other one opens
 * @param length most orders after that
 */
export async function checkModel(world: World, runs: number, length: number): Promise<void> {
  // oxlint-disable-next-line no-console -- so that a run can be done again
  console.log(`model: ${runs} runs, POLYVISOR_SEED=${seed}`);
  // An order to use the VM is given more often than one to get hold of it.
  const orders = fc.commands([creations, connections, others, others, others, others], {
    maxCommands: length,
    size: 'max',
  });
  const property = fc.asyncProperty(whos, fc.boolean(), orders, async (maker, detached, commands) => {
    const model: Model = { vm: undefined, holds: [undefined, undefined] };
    const name = names[0];
    try {
      await new Step(maker, { do: 'create', options: { name, detached } }).run(model, world);
      await new Step(maker === 0 ? 1 : 0, { do: 'open', name }).run(model, world);
      await fc.asyncModelRun(() => ({ model, real: world }), commands);
    } finally {
      for (const vm of await listVms()) await removeVm(vm.name, { force: true });
      for (const actor of world.actors) await actor.tell({ do: 'close' });
    }
  });
  try {
    await fc.assert(property, { numRuns: runs, seed });
  } finally {
    for (const actor of world.actors) await actor.tell({ do: 'rest' });
  }
}
