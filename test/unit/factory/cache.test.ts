import { describe, expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { CacheFactory } from '../../../src/factory/cache.ts';
import type { BaseFactory, Keeping } from '../../../src/factory/factory.ts';
import { codeOf } from '../../fakes/failure.ts';

interface Thing {
  id: number;
  alive: boolean;
  removed: boolean;
}

/** A base factory whose VMs are made when the test lets them. */
class Bench implements BaseFactory<Thing>, Keeping<Thing> {
  readonly kind = 'direct';
  readonly made: Thing[] = [];
  failure: unknown;
  closed = false;
  atOnce = 0;
  mostAtOnce = 0;
  #gate: Promise<void> = Promise.resolve();
  #open: () => void = () => undefined;

  shut(): void {
    this.#gate = new Promise((resolve) => (this.#open = resolve));
  }
  open(): void {
    this.#open();
  }
  vmStatus = () => [];
  closeFactory = async (): Promise<void> => void (this.closed = true);
  status = ({ id }: Thing) => ({ pid: id, vcpus: 1, memoryMiB: 64 });
  isAlive = ({ alive }: Thing): boolean => alive;
  remove = async (thing: Thing): Promise<void> => void (thing.removed = true);
  getBaseVm = async (): Promise<Thing> => {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    await this.#gate;
    this.atOnce--;
    if (this.failure !== undefined) throw this.failure;
    const thing = { id: this.made.length + 1, alive: true, removed: false };
    this.made.push(thing);
    return thing;
  };
}

describe('a cache', () => {
  it('is filled one VM after the other, and again when one is taken', async () => {
    const bench = new Bench();
    const cache = new CacheFactory(bench, 3, bench);
    await cache.filled();
    expect(cache.vmStatus().map(({ pid }) => pid)).toEqual([1, 2, 3]);
    expect(bench.mostAtOnce).toBe(1);
    expect((await cache.getBaseVm({})).id).toBe(1);
    await cache.filled();
    expect(bench.made).toHaveLength(4);
    await cache.closeFactory();
    await cache.closeFactory();
    // What was given out lives on.
    expect(bench.made.map(({ removed }) => removed)).toEqual([false, true, true, true]);
    expect(bench.closed).toBe(true);
    expect(await codeOf(cache.getBaseVm({}))).toBe('INVALID_STATE');
  });

  it('who finds it empty waits, gives up when asked to, and is never given one that another got', async () => {
    const bench = new Bench();
    bench.shut();
    const cache = new CacheFactory(bench, 1, bench);
    expect(await codeOf(cache.getBaseVm({ timeoutMs: 5 }))).toBe('TIMEOUT');
    expect(await codeOf(cache.getBaseVm({ signal: AbortSignal.abort() }))).toBe('ABORTED');
    const waiting = [1, 2, 3].map(() => cache.getBaseVm({}));
    bench.open();
    const got = await Promise.all(waiting);
    expect(new Set(got.map(({ id }) => id)).size).toBe(3);
    await cache.closeFactory();
    expect(bench.made.filter(({ removed }) => !removed)).toHaveLength(3);
  });

  it('removes one that has ended while it was kept', async () => {
    const bench = new Bench();
    const cache = new CacheFactory(bench, 2, bench);
    await cache.filled();
    const [first] = bench.made;
    if (first !== undefined) first.alive = false;
    expect(cache.vmStatus().map(({ pid }) => pid)).toEqual([2]);
    expect((await cache.getBaseVm({})).id).toBe(2);
    expect(first?.removed).toBe(true);
    await cache.closeFactory();
  });

  it('tells why none could be made, and tries again for the next who asks', async () => {
    const bench = new Bench();
    bench.failure = new VmError('START_FAILED', 'no');
    const cache = new CacheFactory(bench, 2, bench);
    expect(await codeOf(cache.getBaseVm({}))).toBe('START_FAILED');
    expect(await codeOf(cache.filled())).toBe('START_FAILED');
    bench.failure = undefined;
    expect((await cache.getBaseVm({})).id).toBe(1);
    await cache.closeFactory();
  });

  it('who has given up does not hear why in the place of one who waits', async () => {
    const bench = new Bench();
    const { getBaseVm } = bench;
    bench.shut();
    let attempts = 0;
    bench.getBaseVm = async () => {
      const thing = await getBaseVm();
      if (++attempts === 1) throw new VmError('START_FAILED', 'no');
      return thing;
    };
    const cache = new CacheFactory(bench, 1, bench);
    expect(await codeOf(cache.getBaseVm({ timeoutMs: 5 }))).toBe('TIMEOUT');
    const waiting = codeOf(cache.getBaseVm({}));
    bench.open();
    expect(await waiting).toBe('START_FAILED');
    expect((await cache.getBaseVm({})).id).toBe(2);
    await cache.closeFactory();
  });

  it('that can not remove one of its VMs says so, when all else is gone', async () => {
    const bench = new Bench();
    const cache = new CacheFactory(bench, 2, bench);
    await cache.filled();
    const { remove } = bench;
    bench.remove = async (thing) => {
      if (thing.id === 1) throw new VmError('IO', 'busy');
      await remove(thing);
    };
    expect(await codeOf(cache.closeFactory())).toBe('IO');
    expect([bench.made.map(({ removed }) => removed), bench.closed]).toEqual([[false, true], true]);
  });

  it('one that is made while the factory is closed is removed, and who waits is told', async () => {
    const bench = new Bench();
    bench.shut();
    const cache = new CacheFactory(bench, 1, bench);
    const waiting = codeOf(cache.getBaseVm({}));
    const closed = cache.closeFactory();
    bench.open();
    await closed;
    expect(await waiting).toBe('INVALID_STATE');
    expect(bench.made.every(({ removed }) => removed)).toBe(true);
  });
});
