import { expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { originText } from '../../../src/config/origin.ts';
import { settle } from '../../../src/cli/vm-settings.ts';
import { rejection } from '../config/fixture.ts';
import { written } from '../kata/fixture.ts';

const text = '[vm]\nhypervisor = "mock"\nmemoryMiB = 256\nvcpus = 2\nkernelParams = ["a"]\n';

it('the command line wins over a file, and adds its kernel parameters', async () => {
  const config = written(text, 'polyvisor.toml');
  const { options, origins } = await settle({ config, memory: 512, append: 'b' });
  expect(options).toEqual({
    hypervisor: 'mock',
    memoryMiB: 512,
    vcpus: 2,
    kernelParams: [
      { key: 'a', value: '' },
      { key: 'b', value: '' },
    ],
  });
  const from = (name: string): string => originText(origins.get(name) ?? { kind: 'default' });
  expect(['memoryMiB', 'vcpus', 'kernelParams', 'hypervisor'].map(from)).toEqual([
    'flag --memory',
    `${config}:4`,
    `${config}:5 and flag --append`,
    `${config}:2`,
  ]);
});

it('an error about what a file set names the line', async () => {
  const config = written(text, 'polyvisor.toml');
  const { explain } = await settle({ config });
  expect(() => explain(new VmError('INVALID_CONFIG', 'too many', { field: 'vcpus' }))).toThrow(`${config}:4: too many`);
  expect(() => explain(new Error('other'))).toThrow('other');
});

it('an annotation has a name and a value', async () => {
  expect(await rejection(settle({ annotation: ['name'] }))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  const enabled = written('[vm]\nenableAnnotations = ["vcpus"]', 'polyvisor.toml');
  const annotation = ['io.katacontainers.config.hypervisor.default_vcpus=1'];
  expect((await settle({ config: enabled, annotation })).options.vcpus).toBe(1);
  expect(await rejection(settle({ annotation }))).toMatchObject({ code: 'INVALID_CONFIG' });
});
