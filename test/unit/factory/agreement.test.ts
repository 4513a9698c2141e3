import { describe, expect, it } from 'vitest';
import type { HypervisorConfig } from '../../../src/config/vm-config.ts';
import { VmError } from '../../../src/errors.ts';
import { agree, type CloneWish } from '../../../src/factory/agreement.ts';
import type { TemplateManifest } from '../../../src/factory/template-manifest.ts';

const config = {
  vcpus: 2,
  maxVcpus: 4,
  memoryMiB: 512,
  debug: false,
  machineType: 'q35',
  kernelParams: [
    { key: 'of-the-image', value: '1' },
    { key: 'mine', value: '' },
  ],
  cpuFeatures: ['+sse'],
} as unknown as HypervisorConfig;

const template: TemplateManifest = {
  schema: 1,
  name: 'web',
  id: '0123456789ab',
  createdAt: '2026-01-01T00:00:00.000Z',
  version: '1',
  hypervisor: 'qemu',
  accel: 'tcg',
  given: { kernelParams: [{ key: 'mine', value: '' }] },
  config,
  memory: 'tmpfs',
  dataFolder: '/dev/shm/x',
  shared: true,
  files: {},
  assets: {},
};

function refusal(wish: CloneWish): string {
  try {
    agree(template, wish);
    return '';
  } catch (error) {
    expect(VmError.from(error).code).toBe('INVALID_CONFIG');
    return VmError.from(error).rawMessage;
  }
}

describe('a clone and its template', () => {
  it('agree where nothing is said, and where the same is said', () => {
    expect(agree(template, { config: {} })).toEqual({});
    const same = { vcpus: 2, memoryMiB: 512, debug: false, kernelParams: [{ key: 'mine', value: '' }], accel: 'tcg' };
    expect(agree(template, { hypervisor: 'qemu', config: same as CloneWish['config'] })).toEqual({});
    expect(agree(template, { config: { accel: 'auto' } })).toEqual({});
  });

  it('differ in vCPUs and memory, when the clone has more: that is plugged', () => {
    expect(agree(template, { config: { vcpus: 4, memoryMiB: 1024 } })).toEqual({ vcpus: 4, memoryMiB: 1024 });
  });

  it.each<[string, CloneWish, string[]]>([
    ['fewer vCPUs', { config: { vcpus: 1 } }, ["vcpus is 1, and the template's is 2"]],
    ['more vCPUs than it may have', { config: { vcpus: 5 } }, ["vcpus is 5, and the template's can grow to 4"]],
    ['less memory', { config: { memoryMiB: 256 } }, ["memoryMiB is 256, and the template's is 512"]],
    ['another VMM', { hypervisor: 'clh', config: {} }, ['hypervisor is "clh", and the template\'s is "qemu"']],
    ['another accelerator', { config: { accel: 'kvm' } }, ['accel is "kvm", and the template\'s is "tcg"']],
    [
      'several things at once',
      { config: { debug: true, cpuFeatures: ['-x'], machineType: 'pc', kernel: '/k', kernelParams: [] } },
      ['debug is true', 'cpuFeatures is ["-x"]', 'machineType is "pc"', 'kernel is "/k"', 'kernelParams is []'],
    ],
  ])('do not agree: %s', (_, wish, expected) => {
    const message = refusal(wish);
    for (const part of ['web', ...expected]) expect(message).toContain(part);
    expect(message.split('; ')).toHaveLength(expected.length);
  });
});
