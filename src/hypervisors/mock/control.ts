import { readFile } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { MockMachine } from './wire.ts';

/** Reads and changes the mock's machine on disk. Changes go through the lifecycle's queue and the caller's lock. */
export class MockControl {
  readonly #path: string;

  constructor(runtimeFolder: string) {
    this.#path = vmmFiles.machine(runtimeFolder);
  }

  /** @throws {VmError} VMM_FAILED when the machine's file is gone or broken */
  async machine(): Promise<MockMachine> {
    try {
      return JSON.parse(await readFile(this.#path, 'utf8')) as MockMachine;
    } catch (error) {
      throw new VmError('VMM_FAILED', "the mock's machine cannot be read", { path: this.#path, cause: error });
    }
  }

  async change(next: (machine: MockMachine) => MockMachine): Promise<MockMachine> {
    const machine = next(await this.machine());
    await writeAtomically(this.#path, `${JSON.stringify(machine)}\n`);
    return machine;
  }
}
