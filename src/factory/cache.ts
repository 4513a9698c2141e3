import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { BaseFactory, FactoryVmStatus, Keeping } from './factory.ts';

/**
 * Keeps VMs of another factory ready, and makes a new one for each that is taken. They are made one after the other: who waits for
 * one shall not wait for all. A VM that has ended while it was kept is removed, and never given out. What fails is told to the next who asks, and
 * then tried again.
 */
export class CacheFactory<V> implements BaseFactory<V> {
  readonly kind = 'cache';
  readonly #base: BaseFactory<V>;
  readonly #keeping: Keeping<V>;
  readonly #size: number;
  readonly #closing = new AbortController();
  #kept: V[] = [];
  #filling: Promise<void> | undefined;
  #failure: unknown;
  #waiting: (() => void)[] = [];

  /** @param size how many are kept. Filling begins at once */
  constructor(base: BaseFactory<V>, size: number, keeping: Keeping<V>) {
    this.#base = base;
    this.#keeping = keeping;
    this.#size = size;
    this.#fill();
  }

  vmStatus(): FactoryVmStatus[] {
    return this.#kept.filter((vm) => this.#keeping.isAlive(vm)).map((vm) => this.#keeping.status(vm));
  }

  /** Settles when as many are kept as shall be. @throws {VmError} what making one fails with; INVALID_STATE, TIMEOUT, ABORTED */
  async filled(call: CallOptions = {}): Promise<void> {
    const scope = callScope('filling of the cache', call);
    try {
      while (this.#kept.length < this.#size) await scope.race(this.#next(scope.signal));
    } finally {
      scope.release();
    }
  }

  async getBaseVm(call: CallOptions): Promise<V> {
    const scope = callScope('taking of a VM from the cache', call);
    try {
      for (;;) {
        const vm = this.#kept.shift();
        if (vm === undefined) {
          await scope.race(this.#next(scope.signal));
          continue;
        }
        this.#fill();
        if (this.#keeping.isAlive(vm)) return vm;
        await this.#keeping.remove(vm);
      }
    } finally {
      scope.release();
    }
  }

  /** @throws what removing a VM fails with: the others are removed all the same, and the base is closed */
  async closeFactory(): Promise<void> {
    this.#closing.abort(closed());
    await this.#filling;
    this.#wake();
    const kept = this.#kept;
    this.#kept = [];
    const removed = await Promise.allSettled(kept.map((vm) => this.#keeping.remove(vm)));
    await this.#base.closeFactory();
    for (const one of removed) if (one.status === 'rejected') throw one.reason;
  }

  /** Settles when one more is kept, or making one has failed. @param call who has given up is told nothing: it is for another one to hear */
  async #next(call: AbortSignal): Promise<void> {
    if (this.#closing.signal.aborted) throw closed();
    this.#fill();
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#closing.signal.aborted) throw closed();
    if (this.#failure === undefined || call.aborted) return;
    const failure = this.#failure;
    this.#failure = undefined;
    throw failure;
  }

  #fill(): void {
    if (this.#filling !== undefined || this.#closing.signal.aborted || this.#kept.length >= this.#size) return;
    this.#filling = this.#makeAll().finally(() => {
      this.#filling = undefined;
      // One may have been taken just now.
      if (this.#failure === undefined) this.#fill();
      this.#wake();
    });
  }

  async #makeAll(): Promise<void> {
    const { signal } = this.#closing;
    try {
      while (this.#kept.length < this.#size && !signal.aborted) {
        const vm = await this.#base.getBaseVm({ signal });
        // Also when the factory was closed meanwhile: what is kept is removed then.
        this.#kept.push(vm);
        this.#wake();
      }
    } catch (error) {
      if (!signal.aborted) this.#failure = error;
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

function closed(): VmError {
  return new VmError('INVALID_STATE', 'the factory is closed', { operation: 'getVm' });
}
