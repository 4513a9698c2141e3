import { expect, it } from 'vitest';
import { parseScratch, scratchOf, scratchParams } from '../../../src/sandbox/scratch.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

it('reads what a command line says of it', () => {
  expect(parseScratch('2G')).toEqual({ sizeMiB: 2048, on: 'disk' });
  expect(parseScratch('disk:64M')).toEqual({ sizeMiB: 64, on: 'disk' });
  expect(parseScratch('memory:512M')).toEqual({ sizeMiB: 512, on: 'memory' });
  for (const wrong of ['', 'memory:', 'tape:2G', '2X', '1.0001M'])
    expect(() => parseScratch(wrong)).toThrow(/size|MiB/);
});

it('is on disk and of 8 GiB unless it is told otherwise', () => {
  expect(scratchOf({ keep: true })).toMatchObject({ sizeMiB: 8192, on: 'disk', keep: true });
  for (const wrong of [{ sizeMiB: 0 }, { sizeMiB: 15 }, { sizeMiB: 1.5 }, { sizeMiB: 2 ** 40 }, { on: 'tape' }])
    expect(() => scratchOf(wrong as never)).toThrow(/scratch/);
  expect(() => scratchOf({ on: 'memory', keep: true })).toThrow(/can not be kept/);
  expect(() => scratchOf('2G' as never)).toThrow(/object/);
});

it('tells the guest its size, or which disk it is on', () => {
  const memory = scratchOf({ sizeMiB: 96, on: 'memory' });
  expect(scratchParams(memory, 128)).toEqual([{ key: 'polyvisor.scratch', value: '96m' }]);
  expect(() => scratchParams(memory, 127)).toThrow(/three quarters/);
  const disk = scratchOf({});
  expect(scratchParams(disk, 128)).toEqual([{ key: 'polyvisor.scratch', value: `UUID=${disk.uuid}` }]);
});

it('is refused where nothing would come of it, and nothing is left', async () => {
  const scratch = { sizeMiB: 64 };
  expect(await codeOf(Vm.create({ hypervisor: 'mock', scratch }))).toBe('UNSUPPORTED');
  expect((await failure(Vm.create({ hypervisor: 'qemu', accel: 'tcg', scratch }))).facts.field).toBe('scratch');
  expect(await codeOf(Vm.create({ template: 'none', scratch }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(Vm.template({ hypervisor: 'mock', scratch }))).toBe('UNSUPPORTED');
  expect(await Vm.list()).toEqual([]);
});
