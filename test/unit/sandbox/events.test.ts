import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { followEvents } from '../../../src/sandbox/follow-events.ts';
import type { LifeEvent } from '../../../src/sandbox/life-events.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { appendEvent, readEvents } from '../../../src/state/event-log.ts';
import { startOwner } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

/** Takes events until one of this kind has come. */
const until = async (events: AsyncIterableIterator<LifeEvent>, last: LifeEvent['event']): Promise<LifeEvent[]> => {
  const seen: LifeEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (event.event === last) break;
  }
  return seen;
};
const collected = async (events: AsyncIterableIterator<LifeEvent>): Promise<LifeEvent[]> => {
  const all: LifeEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
};
const kinds = (events: readonly LifeEvent[]): string[] => events.map(({ event }) => event);

describe('events', () => {
  it('of a VM tell its whole life, whichever handle does it', async () => {
    const all = followEvents();
    const life = until(all, 'removed');
    await delay(50);
    const vm = await Vm.create({ hypervisor: 'mock', name: 'told' });
    const other = await Vm.connect('told');
    await other.pause();
    await vm.resume();
    await other.rename('retold');
    await vm.detach();
    await vm.adopt();
    await other.close();
    // Events have a time in milliseconds: one of this very millisecond would count as after it.
    await delay(2);
    const both = until(vm.events(), 'removed');
    await vm.kill();
    await vm.remove();
    // A log goes with its VM: that it has ended is known all the same.
    expect(kinds(await both)).toEqual(['ended', 'removed']);
    const events = await life;
    expect(kinds(events)).toEqual([
      ...['created', 'started', 'paused', 'resumed', 'renamed', 'detached', 'adopted', 'ended', 'removed'],
    ]);
    expect(new Set(events.map(({ id }) => id))).toEqual(new Set([vm.id]));
    expect(events.find(({ event }) => event === 'renamed')).toMatchObject({ name: 'retold', from: 'told' });
    const times = events.map((event) => event.at);
    expect(times).toEqual(times.toSorted());
  });

  it('come from other processes, and an end that nobody tells is noticed', async () => {
    const seen = until(followEvents({ types: ['started', 'ended'] }), 'ended');
    const owner = startOwner({ hypervisor: 'mock', name: 'far', detached: true });
    const { pid } = await owner.created();
    await owner.kill();
    process.kill(pid, 'SIGKILL');
    const events = await seen;
    expect(kinds(events)).toEqual(['started', 'ended']);
    expect(events.at(-1)).toMatchObject({ name: 'far', noticed: true });
    await (await Vm.open('far')).remove();
  }, 30_000);

  it('since a time begin with what has happened; without it with what happens next', async () => {
    const before = new Date();
    const vm = await Vm.create({ hypervisor: 'mock', name: 'past' });
    try {
      const past = vm.events({ since: before, follow: false });
      expect(kinds(await collected(past))).toEqual(['created', 'started']);
      expect(await collected(vm.events({ follow: false }))).toEqual([]);
      const next = vm.events();
      const first = next.next();
      await delay(50);
      await vm.pause();
      expect((await first).value).toMatchObject({ event: 'paused' });
      await vm.resume();
      expect((await next.next()).value).toMatchObject({ event: 'resumed' });
      await next.return?.();
    } finally {
      await vm.remove();
    }
  });

  it('end with the signal and with return, also while the next one is awaited', async () => {
    const over = new AbortController();
    const events = followEvents({ signal: over.signal });
    const waiting = events.next();
    await delay(50);
    over.abort();
    expect(await waiting).toMatchObject({ done: true });
    const others = followEvents();
    const pending = others.next();
    await others.return?.();
    expect(await pending).toMatchObject({ done: true });
    expect(await followEvents({ signal: AbortSignal.abort() }).next()).toMatchObject({ done: true });
  });
});

describe('a log of events', () => {
  it('is bounded, whole lines only, and read on from where one was', async () => {
    const file = at.file('events.jsonl');
    expect(readEvents(file)).toEqual({ events: [], position: undefined });
    await appendEvent(file, { n: 0 });
    const first = readEvents(file);
    expect(first.events).toEqual([{ n: 0 }]);
    for (let n = 1; n <= 3000; n++) await appendEvent(file, { n, text: 'x'.repeat(100) });
    const { events } = readEvents(file);
    expect(events.at(-1)).toMatchObject({ n: 3000 });
    expect(JSON.stringify(events).length).toBeLessThan(300_000);
    const { position } = readEvents(file, first.position);
    await appendEvent(file, { n: 'next' });
    expect(readEvents(file, position).events).toEqual([{ n: 'next' }]);
  });

  it('passes over lines that are none', () => {
    const file = at.write('spoilt.jsonl', '{"a":1}\n{half\nnull\n[]\n{"b":2}\n{"unfinished"');
    expect(readEvents(file).events).toEqual([{ a: 1 }, [], { b: 2 }]);
  });
});

describe('statistics', () => {
  it('tell of the VMM on the host, and of the guest', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'figures' });
    try {
      const { pid } = await vm.inspect();
      const { vmm, guest, at: time } = await vm.statistics();
      expect(vmm).toMatchObject({ pid, vcpus: [{ index: 0, threadId: pid }] });
      expect(vmm.residentBytes).toBeGreaterThan(100_000);
      expect(vmm.threads).toBeGreaterThanOrEqual(1);
      expect(vmm.cpuTimeMs).toBeGreaterThanOrEqual(0);
      expect(guest?.memoryTotalBytes).toBeGreaterThan(0);
      expect(Date.now() - Date.parse(time)).toBeLessThan(10_000);
      await vm.pause();
      expect((await vm.statistics()).guest).toBeUndefined();
      await vm.kill();
      expect(await codeOf(vm.statistics())).toBe('VMM_GONE');
    } finally {
      await vm.remove();
    }
  });

  it('are followed until the VM ends, the signal comes or the caller leaves', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'course' });
    try {
      let samples = 0;
      for await (const { cpuPercent } of vm.watchStatistics({ intervalMs: 20 })) {
        expect(cpuPercent === undefined).toBe(samples === 0);
        if (++samples === 3) break;
      }
      const over = new AbortController();
      const watch = vm.watchStatistics({ intervalMs: 60_000, signal: over.signal });
      await watch.next();
      const waiting = watch.next();
      over.abort();
      expect(await waiting).toMatchObject({ done: true });
      const last = vm.watchStatistics({ intervalMs: 10 });
      await last.next();
      await vm.kill();
      while ((await last.next()).done !== true) samples++;
      expect(() => vm.watchStatistics({ intervalMs: 0 })).toThrow('INVALID_ARGUMENT');
    } finally {
      await vm.remove();
    }
  });
});
