import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { hostHugePages } from '../../src/hypervisors/acrn/control-hugepages.ts';
import { vmName } from '../../src/hypervisors/acrn/plan.ts';
import { managerFolder } from '../../src/hypervisors/acrn/state-sockets.ts';
import type { BlockDevice } from '../../src/hypervisors/device.ts';
import { vmFiles } from '../../src/state/paths.ts';
import { isAlive } from '../../src/state/process-identity.ts';
import { type Machine, withAcrn } from './acrn-machine.ts';
import { type RigOptions, riggedAcrnDm, type RigPlaces } from './acrn.ts';

/** Where tests of the real acrn-dm stand that need no guest: a folder with a kernel that nobody runs, and what they look at of the host. */
export interface AcrnGround {
  guest(options?: RigOptions): VmConfigInput;
  disk(id: string): BlockDevice;
  /** Writes a file that may be run. @returns its path */
  file(name: string, content: string | Uint8Array): string;
  /** A VM that is made and not started. */
  withCreated(use: (machine: Machine) => Promise<void>, change?: VmConfigInput, options?: RigOptions): Promise<void>;
  /** Huge pages of the host. */
  pages(): number;
  /** Names of a VM's sockets for acrnctl. */
  managerSockets(machine: Machine): string[];
  /** @param before how many huge pages the host had */
  expectNothingLeft(machine: Machine, before: number): Promise<void>;
}

/** Makes a folder for each test of a group. Needs root. */
export function acrnGround(at: RigPlaces): AcrnGround {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-acrn-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const file = (name: string, content: string | Uint8Array): string => {
    const place = path.join(folder, name);
    writeFileSync(place, content, { mode: 0o755 });
    return place;
  };
  const pages = (): number => Number(readFileSync(path.join(hostHugePages.counters, 'nr_hugepages'), 'utf8'));
  const managerSockets = ({ context }: Machine): string[] =>
    existsSync(managerFolder) ? readdirSync(managerFolder).filter((name) => name.startsWith(vmName(context.id))) : [];
  const guest = (options: RigOptions = {}): VmConfigInput => ({
    hypervisorPath: riggedAcrnDm(folder, at, { BACKEND: 'null', ...options }),
    // That it says it is a bzImage is enough.
    kernel: file('kernel', Buffer.concat([Buffer.alloc(0x202), Buffer.from('HdrS'), Buffer.alloc(0x8000)])),
    initrd: file('initrd', 'an initrd'),
    vcpus: 1,
    memoryMiB: 128,
  });
  return {
    guest,
    file,
    disk: (id) => {
      const image = file(`${id}.img`, Buffer.alloc(2 ** 20));
      return { kind: 'block', id, path: image, format: 'raw', readOnly: false };
    },
    withCreated: (use, change = {}, options = {}) =>
      withAcrn({ ...guest(options), ...change }, async (machine) => {
        await machine.hypervisor.create();
        await use(machine);
      }),
    pages,
    managerSockets,
    expectNothingLeft: async (machine, before) => {
      const { hypervisor, context } = machine;
      const identity = hypervisor.process();
      expect(identity !== undefined && isAlive(identity)).toBe(false);
      await hypervisor.cleanup();
      expect(managerSockets(machine)).toEqual([]);
      expect(readdirSync(context.runtimeFolder)).toEqual([]);
      expect(existsSync(vmFiles.hugePages(context.stateFolder))).toBe(false);
      expect(pages()).toBe(before);
    },
  };
}
