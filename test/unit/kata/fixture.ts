import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { type KataConfig, type KataLoadOptions, loadKataConfig } from '../../../src/kata/load.ts';
import { host, usesAll } from '../config/fixture.ts';

/** A file in test/fixtures/kata/. */
export function fixture(name: string): string {
  return path.resolve('test/fixtures/kata', name);
}

/** A folder that is removed at the end of the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'kata-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function written(text: string, name = 'configuration.toml'): string {
  const file = path.join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}

/** Loads a file for a VMM that uses every field, on a host with 4 CPUs. */
export function load(file: string, options: KataLoadOptions = {}): Promise<KataConfig> {
  return loadKataConfig(file, { host, fields: usesAll, ...options });
}

/** Loads a section of QEMU with what is needed beside the given lines. */
export function loadQemu(lines: string, options: KataLoadOptions = {}): Promise<KataConfig> {
  return load(written(`[hypervisor.qemu]\nkernel = "/k"\ninitrd = "/i"\n${lines}`), options);
}
