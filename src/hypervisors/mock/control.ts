import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { MockMachine } from './wire.ts';

/** Reads and changes the mock's machine on disk. Changes go through the lifecycle's queue and the caller's lock. */
export class MockControl {
  /** read anew each time: a VM that is taken over has its own */
  readonly #folders: Pick<VmContext, 'runtimeFolder'>;

  constructor(folders: Pick<VmContext, 'runtimeFolder'>) {
    this.#folders = folders;
  }

  get #path(): string {
    return vmmFiles.machine(this.#folders.runtimeFolder);
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

  /** Writes the machine into a folder. @returns how many bytes that took */
  async copyTo(folder: string): Promise<number> {
    const text = `${JSON.stringify(await this.machine())}\n`;
    await writeAtomically(savedFile(folder), text);
    return text.length;
  }
}

/** The machine that was written into a folder. @throws {VmError} STATE_INVALID */
export async function savedMachine(folder: string): Promise<MockMachine> {
  const file = savedFile(folder);
  try {
    const machine = JSON.parse(await readFile(file, 'utf8')) as MockMachine;
    if (machine.schema === 1 && Array.isArray(machine.devices)) return machine;
  } catch (error) {
    throw new VmError('STATE_INVALID', `${file} cannot be read`, { path: file, cause: error });
  }
  throw new VmError('STATE_INVALID', `${file} is not what this version writes`, { path: file });
}

function savedFile(folder: string): string {
  return path.join(folder, 'mock.json');
}
