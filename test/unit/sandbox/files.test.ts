import { chmodSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { agentBinary } from '../../../src/config/package-files.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import type { VmOptions } from '../../../src/sandbox/vm-options.ts';
import { places } from '../../../src/state/paths.ts';
import { failure } from '../../fakes/failure.ts';
import { asOrdinaryUser, scratch } from '../../fakes/programs.ts';

const at = scratch();

/** The refusal of a VM that boots this kernel and initrd, on the VMM that the test names. */
const refusal = async (
  hypervisor: string,
  options: VmOptions,
): Promise<{ code: string; field?: string | undefined; path?: string | undefined }> => {
  const { code, facts } = await failure(
    Vm.create({ hypervisor, kernel: agentBinary, initrd: agentBinary, accel: 'tcg', ...options }),
  );
  expect(readdirSync(places().vms)).toEqual([]);
  return { code, field: facts.field, path: facts.path };
};

for (const hypervisor of ['mock', 'qemu']) {
  for (const field of ['kernel', 'initrd'] as const) {
    it(`${hypervisor} refuses a ${field} that is missing`, async () => {
      const path = at.file('nothing');
      expect(await refusal(hypervisor, { [field]: path })).toEqual({ code: 'FILE_NOT_FOUND', field, path });
    });

    it(`${hypervisor} refuses a ${field} below a file`, async () => {
      const path = `${at.write('file', 'x')}/below`;
      expect(await refusal(hypervisor, { [field]: path })).toEqual({ code: 'FILE_NOT_FOUND', field, path });
    });

    it(`${hypervisor} refuses a ${field} that is empty`, async () => {
      const path = at.write('empty', '');
      expect(await refusal(hypervisor, { [field]: path })).toEqual({ code: 'FILE_INVALID', field, path });
    });

    it(`${hypervisor} refuses a ${field} that is a folder`, async () => {
      expect(await refusal(hypervisor, { [field]: at.folder })).toEqual({
        code: 'FILE_INVALID',
        field,
        path: at.folder,
      });
    });

    it(`${hypervisor} refuses a ${field} that is a device`, async () => {
      expect(await refusal(hypervisor, { [field]: '/dev/zero' })).toEqual({
        code: 'FILE_INVALID',
        field,
        path: '/dev/zero',
      });
    });

    it(`${hypervisor} refuses a ${field} that is a link to nothing, or to itself`, async () => {
      symlinkSync(at.file('nothing'), at.file('dangling'));
      expect(await refusal(hypervisor, { [field]: at.file('dangling') })).toMatchObject({
        code: 'FILE_NOT_FOUND',
        field,
      });
      symlinkSync(at.file('loop'), at.file('loop'));
      expect(await refusal(hypervisor, { [field]: at.file('loop') })).toMatchObject({ code: 'FILE_INVALID', field });
    });

    it(`${hypervisor} refuses a ${field} that may not be read`, async () => {
      // The scratch folder itself must be open to the ordinary user as whom root plays this.
      chmodSync(at.folder, 0o755);
      const path = at.write('secret', 'x', 0o000);
      expect(await asOrdinaryUser(() => refusalUnlisted(hypervisor, { [field]: path }))).toEqual({
        code: 'FILE_UNREADABLE',
        field,
        path,
      });
      expect(readdirSync(places().vms)).toEqual([]);
    });

    it(`${hypervisor} refuses a ${field} in a folder that may not be entered`, async () => {
      chmodSync(at.folder, 0o755);
      mkdirSync(at.file('closed'), { mode: 0o700 });
      const path = at.write('closed/kernel', 'x');
      if (process.geteuid?.() !== 0) chmodSync(at.file('closed'), 0o000);
      try {
        expect(await asOrdinaryUser(() => refusalUnlisted(hypervisor, { [field]: path }))).toEqual({
          code: 'FILE_UNREADABLE',
          field,
          path,
        });
      } finally {
        chmodSync(at.file('closed'), 0o700);
      }
    });
  }

  it(`${hypervisor} refuses a program of its own that is missing, a folder, or not executable`, async () => {
    const hypervisorPath = at.file('nothing');
    expect(await refusal(hypervisor, { hypervisorPath })).toMatchObject({
      code: 'HYPERVISOR_NOT_FOUND',
      path: hypervisorPath,
    });
    expect(await refusal(hypervisor, { hypervisorPath: at.folder })).toMatchObject({
      code: 'FILE_INVALID',
      field: 'hypervisorPath',
    });
    const plain = at.write('plain', '#!/bin/sh\n', 0o644);
    expect(await refusal(hypervisor, { hypervisorPath: plain })).toMatchObject({
      code: 'FILE_INVALID',
      field: 'hypervisorPath',
    });
  });
}

it('an initrd that is larger than the memory is refused', async () => {
  const initrd = at.write('big', new Uint8Array(65 * 2 ** 20));
  expect(await refusal('mock', { initrd, memoryMiB: 64 })).toMatchObject({ code: 'INVALID_CONFIG', field: 'initrd' });
});

it('a custom asset whose SHA-512 is another is refused', async () => {
  const customAssets = { kernel: { path: agentBinary, sha512: 'a'.repeat(128) } };
  expect(await refusal('mock', { customAssets })).toMatchObject({ code: 'FILE_INVALID' });
});

async function refusalUnlisted(
  hypervisor: string,
  options: VmOptions,
): Promise<{ code: string; field?: string | undefined; path?: string | undefined }> {
  const { code, facts } = await failure(
    Vm.create({ hypervisor, kernel: agentBinary, initrd: agentBinary, accel: 'tcg', ...options }),
  );
  return { code, field: facts.field, path: facts.path };
}
