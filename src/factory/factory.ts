import type { CallOptions } from '../config/call-options.ts';

/*
 * Factories, in virtcontainers' terms (virtcontainers/factory): a base factory makes VMs that stand still; a factory gives them out, running.
 */

/** What a factory is: it boots, clones, keeps VMs ready, or asks a server that does. */
export type FactoryKind = 'direct' | 'template' | 'cache' | 'grpc-cache';

/** A VM that a factory keeps. */
export interface FactoryVmStatus {
  /** process id of its VMM */
  pid: number;
  vcpus: number;
  memoryMiB: number;
}

/** Makes VMs that stand still. `V` is what holds one. */
export interface BaseFactory<V> {
  readonly kind: FactoryKind;
  /** The VMs that it keeps ready. */
  vmStatus(): FactoryVmStatus[];
  /** Makes one, or gives one that was kept: who gets it has to wake it or to remove it. @throws {VmError} INVALID_STATE after `closeFactory` */
  getBaseVm(call: CallOptions): Promise<V>;
  /** Removes what it keeps. What it gave out lives on. May be repeated. */
  closeFactory(): Promise<void>;
}

/** What a factory can do with a VM that stands still. */
export interface Keeping<V> {
  status(vm: V): FactoryVmStatus;
  /** whether its VMM still runs */
  isAlive(vm: V): boolean;
  remove(vm: V): Promise<void>;
}
