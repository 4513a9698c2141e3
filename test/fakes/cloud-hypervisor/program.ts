import { existsSync } from 'node:fs';
import path from 'node:path';
import { type FakeOptions, fakeProgram, specsFolder } from '../vmm-api/program.ts';

/** A fake Cloud Hypervisor, as the text of a program. */
export function fakeCloudHypervisor(options: FakeOptions): string {
  return fakeProgram(new URL('main.ts', import.meta.url), `cloud-hypervisor v${options.version}`, options);
}

/** Whether the vendor's description is there, by which every request is judged. */
export const isDescribed: boolean = existsSync(path.join(specsFolder, 'cloud-hypervisor.yaml'));
