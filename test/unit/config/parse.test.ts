import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { configFieldNames } from '../../../src/config/config-fields.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import { VmError } from '../../../src/errors.ts';
import { errorOf } from './fixture.ts';

const problem = (input: unknown): string => {
  const error = errorOf(() => parseConfig(input));
  expect(error.code).toBe('INVALID_CONFIG');
  return error.message;
};

test('what is right comes back as it was', () => {
  const input = {
    vcpus: 2,
    memoryMiB: 64,
    kernel: '/boot/vmlinuz',
    kernelParams: [{ key: 'rootflags', value: 'data=ordered,errors=remount-ro ro' }],
    cpuFeatures: ['+svm', '-avx', 'pmu=off'],
    customAssets: { kernel: { path: '/k', sha512: 'a'.repeat(128) } },
    accel: 'tcg',
    debug: true,
  };
  expect(parseConfig(input)).toEqual(input);
  expect(parseConfig({})).toEqual({});
  expect(parseConfig({ vcpus: undefined })).toEqual({});
});

describe('wrong values', () => {
  test.each([
    [{ vcpus: 0 }, 'vcpus', 'vcpus is 0, allowed is a whole number of at least 1 (vCPUs)'],
    [{ vcpus: '2' }, 'vcpus', 'vcpus is "2"'],
    [{ vcpus: 1.5 }, 'vcpus', 'vcpus is 1.5'],
    [{ vcpus: Number.NaN }, 'vcpus', 'vcpus is NaN'],
    [{ vcpus: -1 }, 'vcpus', 'vcpus is -1'],
    [{ vcpus: 2 ** 32 }, 'vcpus', 'vcpus is 4294967296'],
    [{ vcpus: null }, 'vcpus', 'vcpus is null'],
    [{ maxVcpus: 0 }, 'maxVcpus', 'maxVcpus is 0'],
    [{ memoryMiB: 0 }, 'memoryMiB', 'memoryMiB is 0, allowed is a whole number of at least 64 (MiB)'],
    [{ memoryMiB: 63 }, 'memoryMiB', 'memoryMiB is 63'],
    [{ memorySlots: 0 }, 'memorySlots', 'memorySlots is 0'],
    [{ memoryOffsetMiB: 0 }, 'memoryOffsetMiB', 'memoryOffsetMiB is 0'],
    [{ defaultBridges: 0 }, 'defaultBridges', 'defaultBridges is 0'],
    [{ defaultBridges: 6 }, 'defaultBridges', 'from 1 to 5'],
    [{ msize9pBytes: 0 }, 'msize9pBytes', 'msize9pBytes is 0'],
    [{ virtioFsCacheSizeMiB: 0 }, 'virtioFsCacheSizeMiB', 'virtioFsCacheSizeMiB is 0'],
    [{ pcieRootPorts: 0 }, 'pcieRootPorts', 'pcieRootPorts is 0'],
    [{ kernel: 'vmlinuz' }, 'kernel', 'kernel is "vmlinuz", allowed is an absolute path'],
    [{ kernel: '' }, 'kernel', 'kernel is ""'],
    [{ kernel: '/a\nb' }, 'kernel', 'an absolute path'],
    [{ kernel: `/${'x'.repeat(4095)}` }, 'kernel', 'xxx...'],
    [{ pflash: ['/a', 'b'] }, 'pflash[1]', 'pflash[1] is "b"'],
    [{ accel: 'hvf' }, 'accel', 'one of auto, kvm, tcg'],
    [{ sharedFs: '9p' }, 'sharedFs', 'one of virtio-9p, virtio-fs'],
    [{ blockDeviceDriver: 'ide' }, 'blockDeviceDriver', 'one of virtio-scsi'],
    [{ cpuModel: 'EPYC,+svm' }, 'cpuModel', 'features go into cpuFeatures'],
    [{ cpuFeatures: ['a,b'] }, 'cpuFeatures[0]', 'a feature such as'],
    [{ machineAccelerators: ['smm=off,x'] }, 'machineAccelerators[0]', 'a machine option'],
    [{ machineType: 'q35,accel=tcg' }, 'machineType', 'a machine type such as q35'],
    [{ debug: 1 }, 'debug', 'true or false'],
    [{ kernelParams: 'quiet' }, 'kernelParams', 'a list of { key, value }'],
    [{ kernelParams: [{ key: '', value: 'x' }] }, 'kernelParams[0].key', 'the key not empty'],
    [{ kernelParams: [{ key: 'a', value: 'b\nc' }] }, 'kernelParams[0].value', 'without control characters'],
    [{ customAssets: { kernel: { path: 'x' } } }, 'customAssets.kernel.path', 'path absolute'],
    [{ customAssets: { kernel: { path: '/x', sha512: 'ab' } } }, 'customAssets.kernel.sha512', '128 hexadecimal'],
  ])('%j', (input, field, text) => {
    const error = errorOf(() => parseConfig(input));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.facts.field).toBe(field);
    expect(error.message).toContain(text);
    expect(error.message.length).toBeLessThan(400);
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });

  test('several at once are all told, up to five', () => {
    expect(problem({ vcpus: 0, debug: 1 })).toMatch(/vcpus is 0.*; debug is 1/);
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`zzzz${at}`, 1]));
    expect(problem(many)).toContain('and 45 more');
  });

  test.each([null, undefined, 3, 'x', [1], () => 1])('%s is no configuration', (input) => {
    expect(problem(input)).toContain('must be an object');
  });
});

describe('unknown keys', () => {
  test.each([
    ['memroyMiB', 'memoryMiB'],
    ['memory', 'memoryMiB'],
    ['cpus', 'vcpus'],
    ['VCPUS', 'vcpus'],
    ['default_vcpus', 'vcpus'],
    ['NumVCPUs', 'vcpus'],
    ['MemorySize', 'memoryMiB'],
    ['hypervisor_path', 'hypervisorPath'],
    ['enable_iothreads', 'enableIoThreads'],
  ])('%s: did you mean %s', (key, meant) => {
    const error = errorOf(() => parseConfig({ [key]: 1 }));
    expect(error.facts.field).toBe(key);
    expect(error.message).toContain(`${key} is not a config field; did you mean ${meant}?`);
  });

  test('nothing near, nothing suggested', () => {
    expect(problem({ zzzzzz: 1 })).toMatch(/zzzzzz is not a config field$/);
    expect(problem(JSON.parse('{"__proto__": 1}'))).toContain('__proto__');
    expect(problem({ constructor: 1 })).toContain('constructor');
  });

  test('inside parameters and assets', () => {
    expect(problem({ kernelParams: [{ key: 'a', value: 'b', vale: 1 }] })).toContain('kernelParams[0].vale');
    expect(problem({ customAssets: { kernl: {} } })).toContain('did you mean customAssets.kernel?');
    expect(problem({ customAssets: { kernel: { path: '/a', sha: '' } } })).toContain(
      'did you mean customAssets.kernel.sha512?',
    );
  });

  test('a long key is cut, its control characters are gone', () => {
    const message = problem({ [`\u001B[2J${'x'.repeat(500)}`]: 1 });
    expect(message.length).toBeLessThan(200);
    expect(message).not.toContain('\u001B');
  });
});

test('a getter or a proxy that throws is INVALID_CONFIG', () => {
  const throwing = {
    get vcpus(): number {
      throw new Error('no');
    },
  };
  expect(problem(throwing)).toContain('could not be read');
  const proxy = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new TypeError('no');
      },
    },
  );
  expect(problem(proxy)).toContain('could not be read');
});

/** What became of an input; 'as promised' when it was taken or refused with a short INVALID_CONFIG. */
function outcome(input: unknown): string {
  try {
    parseConfig(input);
    return 'as promised';
  } catch (error) {
    if (!(error instanceof VmError)) return `not a VmError: ${String(error)}`;
    return error.code === 'INVALID_CONFIG' && error.message.length < 2000 ? 'as promised' : error.message;
  }
}

test('whatever is given, parseConfig returns or throws INVALID_CONFIG', () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSparseArray: true,
  });
  const fields = fc.dictionary(fc.oneof(fc.constantFrom(...configFieldNames), fc.string()), anything);
  fc.assert(
    fc.property(fc.oneof(anything, fields), (input) => {
      expect(outcome(input)).toBe('as promised');
    }),
    { numRuns: 500 },
  );
});
