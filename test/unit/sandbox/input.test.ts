import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readHostFacts } from '../../../src/config/host.ts';
import { planVm } from '../../../src/sandbox/plan.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import type { VmOptions } from '../../../src/sandbox/vm-options.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

const host = await readHostFacts();

/** What a user of plain JavaScript may pass. */
const refused = async (options: unknown): Promise<{ code: string; message: string; field: string | undefined }> => {
  const creation = Vm.create(options as VmOptions);
  // One that is not refused must not be taken for the next one's.
  creation.then((vm) => vm.remove()).catch(() => undefined);
  const error = await failure(creation);
  expect(readdirSync(places().vms)).toEqual([]);
  // A plan is refused for the very same reason: it is what `create` does before it makes a VM.
  if (error.code !== 'NAME_IN_USE') expect(await codeOf(planVm(options as VmOptions))).toBe(error.code);
  return { code: error.code, message: error.rawMessage, field: error.facts.field };
};

describe('the hypervisor', () => {
  it.each(['x', 'QEMU', 'kvm', '', '../qemu', 'constructor'])('%j is unknown', async (hypervisor) => {
    const { code, message } = await refused({ hypervisor });
    expect(code).toBe('UNKNOWN_HYPERVISOR');
    expect(message).toContain(`Unknown hypervisor type ${hypervisor}`);
  });

  it.each([null, 7, {}, ['mock'], true])('%j is no hypervisor type', async (hypervisor) => {
    expect(await refused({ hypervisor })).toMatchObject({ code: 'UNKNOWN_HYPERVISOR' });
  });
});

describe('what is booted', () => {
  const file = process.execPath;

  it('an initrd needs a kernel', async () => {
    expect(await refused({ hypervisor: 'qemu', initrd: file })).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'kernel',
    });
  });

  it('a kernel needs an initrd or an image', async () => {
    expect(await refused({ hypervisor: 'qemu', kernel: file })).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'initrd',
    });
  });

  it.each(['qemu', 'mock'])('%s takes an image or an initrd, not both', async (hypervisor) => {
    const { code, message } = await refused({ hypervisor, kernel: file, image: file, initrd: file });
    expect(code).toBe('INVALID_CONFIG');
    expect(message).toContain('image');
  });

  it('the same two as custom assets are refused too', async () => {
    const customAssets = { image: { path: file }, initrd: { path: file } };
    expect(await refused({ hypervisor: 'qemu', kernel: file, customAssets })).toMatchObject({ code: 'INVALID_CONFIG' });
  });
});

describe('sizes', () => {
  it.each([0, -1, 63, 64.5, Number.NaN, Number.POSITIVE_INFINITY, host.memoryMiB + 1, 2 ** 53])(
    '%d MiB of memory are refused',
    async (memoryMiB) => {
      const { code, field } = await refused({ hypervisor: 'mock', memoryMiB });
      expect({ code, field }).toEqual({ code: 'INVALID_CONFIG', field: 'memoryMiB' });
    },
  );

  it.each([0, -1, 1.5, host.cpus + 1, 241])('%d vCPUs are refused', async (vcpus) => {
    const { code, field } = await refused({ hypervisor: 'mock', vcpus });
    expect({ code, field }).toEqual({ code: 'INVALID_CONFIG', field: 'vcpus' });
  });

  it('more vCPUs than the maximum are refused', async () => {
    expect(await refused({ hypervisor: 'mock', vcpus: 2, maxVcpus: 1 })).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'vcpus',
    });
  });

  it('a maximum above what the machine takes is refused', async () => {
    expect(await refused({ hypervisor: 'mock', maxVcpus: 100_000 })).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'maxVcpus',
    });
  });
});

describe('keys and types', () => {
  it('an unknown key is refused, with the one that may have been meant', async () => {
    const error = await failure(Vm.create({ hypervisor: 'mock', memoryMib: 512 } as VmOptions));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(`${error.rawMessage} ${error.advice}`).toContain('memoryMiB');
    expect((await refused({ hypervisor: 'mock', memoryMib: 512 })).message).toContain('memoryMib');
  });

  it.each([
    { vcpu: 1 },
    { __proto__x: 1 },
    { constructor: 1 },
    JSON.parse('{"__proto__": 1}') as object,
    { vcpus: '2' },
    { memoryMiB: '512M' },
    { kernelParams: 'quiet' },
    { kernelParams: [{ key: 'a' }] },
    { kernelParams: ['quiet'] },
    { hypervisorParams: [{ key: 1, value: 'x' }] },
    { accel: 'hvf' },
    { kernel: 7 },
    { kernel: '' },
    { kernel: 'relative/vmlinux' },
    { vcpus: null },
    { debug: 'yes' },
    { customAssets: [] },
  ])('%j is refused', async (change) => {
    expect(await refused({ hypervisor: 'mock', ...change })).toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it('a field that the VMM has no use for is refused, not ignored', async () => {
    expect(await refused({ hypervisor: 'mock', cpuModel: 'host' })).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'cpuModel',
    });
  });

  it.each([
    { detached: 1 },
    { detached: 'false' },
    { networkNamespace: 'blue' },
    { networkNamespace: 5 },
    { startTimeoutMs: 0 },
    { startTimeoutMs: Number.NaN },
    { startTimeoutMs: '5' },
    { startTimeoutMs: 2 ** 31 },
    { onEvent: 'log' },
    { signal: 'SIGTERM' },
    { signal: null },
  ])('%j is no such option', async (change) => {
    expect(await refused({ hypervisor: 'mock', ...change })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: Object.keys(change)[0],
    });
  });

  it.each([0, -5, Number.NaN, 2 ** 31])('a time-out of %d ms is refused', async (timeoutMs) => {
    expect(await codeOf(Vm.create({ hypervisor: 'mock', timeoutMs }))).toBe('INVALID_ARGUMENT');
  });

  it.each([null, 'mock', 5, [], true])('%j is no options object', async (options) => {
    expect(await codeOf(Vm.create(options as unknown as VmOptions))).toBe('INVALID_ARGUMENT');
  });
});

describe('names', () => {
  it.each([
    'a/b',
    '../a',
    '.',
    '..',
    '.hidden',
    'a.b',
    'a b',
    ' a',
    'a\n',
    '',
    '-a',
    '_a',
    'ä',
    'a\0',
    '/etc',
    'x'.repeat(64),
    'x'.repeat(200),
    7,
    null,
    {},
  ])('%j is refused', async (name) => {
    expect(await refused({ hypervisor: 'mock', name })).toMatchObject({ code: 'INVALID_NAME' });
    expect(await codeOf(Vm.connect(name as string))).toBe('INVALID_NAME');
  });

  it('one of 63 characters is taken, and its sockets work', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'x'.repeat(63) });
    try {
      expect((await vm.exec(['echo', 'long'])).stdout).toBe('long\n');
    } finally {
      await vm.remove();
    }
  });

  it('one in use is refused, and the VM that has it lives on', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'taken' });
    try {
      const error = await failure(Vm.create({ hypervisor: 'mock', name: 'taken' }));
      expect(error.code).toBe('NAME_IN_USE');
      expect(error.facts.name).toBe('taken');
      expect((await vm.exec(['echo', 'mine'])).stdout).toBe('mine\n');
    } finally {
      await vm.remove();
    }
  });

  it('of two that want one name at once one gets it', async () => {
    const both = await Promise.allSettled([1, 2].map(() => Vm.create({ hypervisor: 'mock', name: 'wanted' })));
    const [won, lost] = [
      both.filter((one) => one.status === 'fulfilled'),
      both.filter((one) => one.status === 'rejected'),
    ];
    try {
      expect([won.length, lost.length]).toEqual([1, 1]);
      expect(lost[0]?.reason).toMatchObject({ code: 'NAME_IN_USE' });
      expect((await won[0]?.value.exec('echo won'))?.stdout).toBe('won\n');
    } finally {
      await Promise.all(won.map(({ value }) => value.remove()));
    }
  });
});
