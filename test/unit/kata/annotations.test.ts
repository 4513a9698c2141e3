import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ConfigField } from '../../../src/config/vm-config.ts';
import { fields as qemu } from '../../../src/hypervisors/qemu/fields.ts';
import { hypervisorTypes } from '../../../src/config/hypervisor-type.ts';
import { loadDriver } from '../../../src/hypervisors/registry.ts';
import { annotatedFields, pathLists } from '../../../src/kata/annotation-names.ts';
import { type AnnotatedOptions, applyAnnotations } from '../../../src/kata/annotations.ts';
import type { KataOptions } from '../../../src/kata/load.ts';
import { host, rejection, usesAll } from '../config/fixture.ts';
import { written } from './fixture.ts';

const prefix = 'io.katacontainers.config.hypervisor.';
const sha512 = (text: string): string => createHash('sha512').update(text).digest('hex');

function apply(
  annotations: Record<string, string>,
  before: Partial<KataOptions> = {},
  fields = usesAll,
): Promise<AnnotatedOptions> {
  const named = Object.entries(annotations).map(([name, value]) => [
    name.startsWith('io.') ? name : prefix + name,
    value,
  ]);
  const options: KataOptions = { hypervisor: 'qemu', enableAnnotations: ['.*'], ...before };
  return applyAnnotations(options, Object.fromEntries(named) as Record<string, string>, { host, fields });
}

it.each([
  ['default_vcpus', '3', 'vcpus', 3],
  ['default_max_vcpus', '4', 'maxVcpus', 4],
  ['default_memory', '512', 'memoryMiB', 512],
  ['memory_slots', '0', 'memorySlots', undefined],
  ['memory_offset', '16', 'memoryOffsetMiB', 16],
  ['machine_type', 'q35', 'machineType', 'q35'],
  ['machine_type', '', 'machineType', undefined],
  ['machine_accelerators', 'a=on, b', 'machineAccelerators', ['a=on', 'b']],
  ['enable_swap', 'true', 'mlock', false],
  ['enable_iommu', 'T', 'iommu', true],
  ['shared_fs', 'virtio-9p', 'sharedFs', 'virtio-9p'],
  ['virtio_fs_extra_args', '["-o", "x"]', 'virtioFsExtraArgs', ['-o', 'x']],
  ['numa_mapping', '0 1-2', 'numaMapping', ['0', '1-2']],
  ['entropy_source', '/dev/random', 'entropySource', '/dev/random'],
] as const)('%s=%s', async (name, text, field, value) => {
  const { options, origins, report } = await apply({ [name]: text });
  expect(options[field]).toEqual(value);
  expect(report).toMatchObject([{ key: prefix + name, outcome: 'taken' }]);
  expect(origins.has(field)).toBe(value !== undefined);
});

it('every VMM can be given annotations, and the list of its programs', async () => {
  for (const type of hypervisorTypes) {
    const { uses } = (await loadDriver(type)).fields;
    expect(uses, type).toMatchObject({ enableAnnotations: true, hypervisorPathList: true });
  }
});

it('adds kernel parameters to those that there are', async () => {
  const { options } = await apply({ kernel_params: 'a=b  c' }, { kernelParams: [{ key: 'x', value: '' }] });
  expect(options.kernelParams?.map(({ key }) => key)).toEqual(['x', 'a', 'c']);
});

describe('refuses', () => {
  it.each([
    ['default_vcpus', '5', 'is greater than the number of CPUs 4 on the system'],
    ['default_vcpus', '-1', 'please specify positive numeric value'],
    ['default_max_vcpus', '5', 'is greater than the number of CPUs 4'],
    ['default_memory', '255', 'less than minimum required 256'],
    ['default_memory', '4294967296', 'please specify positive numeric value'],
    ['msize_9p', '0', 'please specify positive numeric value'],
    ['enable_iommu', 'yes', "Please specify boolean value 'true|false'"],
    ['block_device_driver', 'ide', 'allowed is one of'],
    ['virtio_fs_extra_args', '{}', 'a JSON list of texts'],
    ['path', '/bin/sh', 'hypervisor "/bin/sh" required from annotation is not valid'],
    ['ctlpath', '/bin/sh', 'hypervisor control'],
    ['jailer_path', '/bin/sh', 'jailer'],
    ['virtio_fs_daemon', '/bin/sh', 'virtiofs daemon'],
    ['file_mem_backend', '/tmp', 'file_mem_backend value'],
    ['vhost_user_store_path', '/tmp', 'vhost store path'],
    ['kernel', 'relative', 'an absolute path is needed'],
    ['kernel_hash', 'abc', 'there is no file'],
    ['io.katacontainers.asset_hash_type', 'md5', 'only sha512 is known'],
  ])('%s=%s', async (name, text, message) => {
    const error = await rejection(apply({ [name]: text }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.rawMessage).toContain(message);
  });

  it('what no pattern enables, whatever else is there', async () => {
    const before = { enableAnnotations: ['^default_', 'kernel_params$'] };
    expect((await apply({ default_memory: '512' }, before)).options.memoryMiB).toBe(512);
    const error = await rejection(apply({ default_memory: '512', enable_iommu: 'true' }, before));
    expect(error.rawMessage).toBe(`annotation ${prefix}enable_iommu is not enabled`);
    await expect(apply({ kernel: '/k' }, { enableAnnotations: [] })).rejects.toThrow('is not enabled');
  });

  it('a path that matches no pattern of its list, or is not there', async () => {
    const program = written('#!/bin/sh\n', 'vmm');
    const list = { hypervisorPathList: [program.replace('vmm', 'v*')] };
    const { options } = await apply({ path: program }, list);
    expect(options.customAssets).toEqual({ hypervisor: { path: program } });
    await expect(apply({ path: `${program}x` }, list)).rejects.toThrow('is not valid');
  });

  it('a source of entropy beside its list, once there is one', async () => {
    await expect(apply({ entropy_source: '/dev/zero' }, { entropySourceList: ['/dev/urandom'] })).rejects.toThrow(
      'entropy source "/dev/zero" required from annotation is not valid',
    );
  });
});

describe('hashes', () => {
  it('are compared with the file of the annotation', async () => {
    const kernel = written('kernel', 'kernel');
    const { options, report } = await apply({ kernel, kernel_hash: sha512('kernel') });
    expect(options.customAssets?.kernel).toEqual({ path: kernel, sha512: sha512('kernel') });
    expect(report.map(({ field }) => field)).toEqual(['customAssets.kernel', 'customAssets.kernel']);
    expect(await rejection(apply({ kernel, kernel_hash: sha512('other') }))).toMatchObject({ code: 'FILE_INVALID' });
  });

  it('or with the one that is configured', async () => {
    const image = written('image', 'image');
    expect(await rejection(apply({ image_hash: sha512('other') }, { image }))).toMatchObject({ code: 'FILE_INVALID' });
    expect((await apply({ image_hash: sha512('image') }, { image })).options.customAssets?.image?.path).toBe(image);
  });
});

it('never touches what limits annotations', async () => {
  const limits: ConfigField[] = ['enableAnnotations', ...Object.values(pathLists).map(({ list }) => list)];
  expect([...annotatedFields.values()].filter((field) => limits.includes(field))).toEqual([]);
  const { options, report } = await apply({ enable_annotations: 'x', valid_hypervisor_paths: '/*', debug: '1' });
  expect(options).toEqual({ hypervisor: 'qemu', enableAnnotations: ['.*'] });
  expect(report.map(({ outcome }) => outcome)).toEqual(['unsupported', 'unsupported', 'unsupported']);
});

it('accounts for those that are not about the hypervisor', async () => {
  const { report } = await apply({ 'io.katacontainers.config.runtime.disable_new_netns': '1', 'io.kubernetes.x': 'y' });
  expect(report.map(({ outcome }) => outcome)).toEqual(['no-meaning', 'no-meaning']);
});

it('strictly, what is not taken is an error', async () => {
  const options: KataOptions = { hypervisor: 'qemu', enableAnnotations: ['.*'] };
  const annotations = { [`${prefix}rootless`]: 'true' };
  await expect(applyAnnotations(options, annotations, { host, strict: true })).rejects.toThrow('no meaning');
});

it('a list counts for a VMM when the path that it limits does', () => {
  for (const [field, { list }] of Object.entries(pathLists)) {
    expect(qemu.uses[list], list).toBe(qemu.uses[field as ConfigField]);
  }
});
