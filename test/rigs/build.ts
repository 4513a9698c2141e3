import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Builds the library that plays ACRN's device for acrn-dm, unless it is there. Needs gcc. @returns its path */
export function buildAcrnRig(): string {
  return build('acrn-hsm-kvm.c', 'acrn-hsm-kvm.so', ['-shared', '-fPIC', '-lpthread', '-ldl']);
}

/** Builds the program that runs a command while there is a VM of KVM, unless it is there. Needs gcc. @returns its path */
export function buildKvmHolder(): string {
  return build('hold-kvm.c', 'hold-kvm', ['-static']);
}

function build(source: string, name: string, flags: readonly string[]): string {
  const from = fileURLToPath(new URL(source, import.meta.url));
  const folder = path.resolve('node_modules/.cache/rigs');
  const built = path.join(folder, name);
  if ((statSync(built, { throwIfNoEntry: false })?.mtimeMs ?? 0) > statSync(from).mtimeMs) return built;
  mkdirSync(folder, { recursive: true });
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-o', built, from, ...flags]);
  return built;
}
