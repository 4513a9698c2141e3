import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('acrn-hsm-kvm.c', import.meta.url));

/** Builds the library that plays ACRN's device for acrn-dm, unless it is there. Needs gcc. @returns its path */
export function buildAcrnRig(): string {
  const folder = path.resolve('node_modules/.cache/rigs');
  const built = path.join(folder, 'acrn-hsm-kvm.so');
  if ((statSync(built, { throwIfNoEntry: false })?.mtimeMs ?? 0) > statSync(source).mtimeMs) return built;
  mkdirSync(folder, { recursive: true });
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-o', built, source, '-lpthread', '-ldl']);
  return built;
}
