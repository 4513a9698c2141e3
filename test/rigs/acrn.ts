import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** How the rig behaves: its variables without their prefix (see its header). */
export interface RigOptions {
  BACKEND?: 'kvm' | 'null';
  /** number of the ioctl that fails: 10 CREATE_VM, 12 START_VM, 41 SET_MEMSEG */
  FAIL?: string;
  KERNEL?: 'acrn' | 'upstream';
  LOG?: string;
  /** where KVM's device is; `/dev/kvm` when absent */
  KVM?: string;
}

/** Where the program and the library are. */
export interface RigPlaces {
  acrnDm: string;
  /** tests that use it are left out when absent */
  acrnctl?: string | undefined;
  rig: string;
}

/**
 * Writes a program that is acrn-dm on the rig: the driver knows of nothing but that.
 * @returns its path
 */
export function riggedAcrnDm(folder: string, at: RigPlaces, options: RigOptions = {}): string {
  const variables = Object.entries(options).map(([name, value]) => `export ACRN_SHIM_${name}='${value}'`);
  const file = path.join(folder, `acrn-dm${Object.values(options).join('-').replaceAll(/[/:]/g, '')}`);
  const run = `LD_PRELOAD='${at.rig}' exec '${at.acrnDm}' "$@"`;
  writeFileSync(file, ['#!/bin/sh', ...variables, run, ''].join('\n'));
  chmodSync(file, 0o755);
  return file;
}
