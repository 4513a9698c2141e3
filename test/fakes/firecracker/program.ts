import { existsSync } from 'node:fs';
import path from 'node:path';
import { type FakeOptions, fakeProgram, specsFolder } from '../vmm-api/program.ts';

/** A fake Firecracker, as the text of a program. */
export function fakeFirecracker(options: FakeOptions): string {
  return fakeProgram(new URL('main.ts', import.meta.url), `Firecracker v${options.version}`, options);
}

/** Whether the vendor's description is there, by which every request is judged. */
export const isDescribed: boolean = existsSync(path.join(specsFolder, 'firecracker.yaml'));
