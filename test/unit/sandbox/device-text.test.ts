import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { deviceOf, type DeviceSpec } from '../../../src/sandbox/device-spec.ts';
import { parseDisk, parseFolder, parseMount, parseNet } from '../../../src/sandbox/device-text.ts';

const codeIn = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return VmError.from(error).code;
  }
  return 'none';
};

describe('a folder', () => {
  it.each([
    ['/src:/src', { path: '/src', mountAt: '/src', readOnly: false }],
    ['./a, "b":/m:ro', { path: path.resolve('a, "b"'), mountAt: '/m', readOnly: true }],
    ['/with:colon:/m:rw', { path: '/with:colon', mountAt: '/m', readOnly: false }],
  ])('%s', (text, wanted) => {
    expect(parseFolder(text)).toEqual({ kind: 'fs', ...wanted });
  });
  it.each(['', '/src', '/src:relative', ':/m'])('not %j', (text) => {
    expect(codeIn(() => parseFolder(text))).toBe('INVALID_ARGUMENT');
  });
});

describe('a mount', () => {
  const folder = { kind: 'fs', path: '/src', mountAt: '/m', readOnly: false };
  it.each([
    ['type=bind,source=/src,target=/m', folder],
    ['src=/src,dst=/m,readonly', { ...folder, readOnly: true }],
    ['destination=/m,src=/src,ro=false,driver=virtio-9p,id=mine', { ...folder, driver: 'virtio-9p', id: 'mine' }],
    ['"source=/a,""b""=c",target=/m,readonly=true', { ...folder, path: '/a,"b"=c', readOnly: true }],
    ['source=rel:ative,target=/m', { ...folder, path: path.resolve('rel:ative') }],
  ])('%s', (text, wanted) => {
    expect(parseMount(text)).toEqual(wanted);
  });
  it.each([
    '',
    'source=/a',
    'target=/m',
    'source=,target=/m',
    'source=/a,target=m',
    'type=volume,source=/a,target=/m',
    'source=/a,src=/b,target=/m',
    'source=/a,target=/m,readonly=no',
    'source=/a,target=/m,driver=nfs',
    'source=/a,target=/m,constructor=1',
    'source,target=/m',
    'source="/a",target=/m',
    'source=/a,target=/m,',
    '"source=/a,target=/m',
  ])('not %j', (text) => {
    expect(codeIn(() => parseMount(text))).toBe('INVALID_ARGUMENT');
  });
});

describe('a disk', () => {
  it.each([
    ['/a.img', { path: '/a.img', format: 'raw', readOnly: false }],
    ['/a,b.img:ro', { path: '/a,b.img', format: 'raw', readOnly: true }],
    ['/a:qcow2:ro', { path: '/a', format: 'qcow2', readOnly: true }],
    ['/a:ro:qcow2', { path: '/a', format: 'qcow2', readOnly: true }],
    ['/by:hand', { path: '/by:hand', format: 'raw', readOnly: false }],
  ])('%s', (text, wanted) => {
    expect(parseDisk(text)).toEqual({ kind: 'block', ...wanted });
  });
  it('not an empty one', () => {
    expect(codeIn(() => parseDisk(''))).toBe('INVALID_ARGUMENT');
  });
});

it('a network', () => {
  expect(parseNet('none')).toBeUndefined();
  expect(parseNet('user')).toEqual({ kind: 'net' });
  expect(parseNet('tap=tap0')).toEqual({ kind: 'net', tap: 'tap0' });
  expect(parseNet('macvtap=mv0')).toEqual({ kind: 'net', tap: 'mv0', tapType: 'macvtap' });
  for (const wrong of ['', 'tap', 'tap=', 'bridge', 'USER'])
    expect(codeIn(() => parseNet(wrong))).toBe('INVALID_ARGUMENT');
});

describe('what is left out', () => {
  it('gets a default, and an id of its own', () => {
    const [one, other] = [deviceOf({ kind: 'block', path: '/a' }), deviceOf({ kind: 'block', path: '/a' })];
    expect(one.device).toMatchObject({
      format: 'raw',
      readOnly: false,
      id: expect.stringMatching(/^disk-[0-9a-f]{6}$/) as string,
    });
    expect(one.device.id).not.toBe(other.device.id);
    expect(deviceOf({ kind: 'fs', id: 'f', path: '/f', mountAt: '/m' })).toEqual({
      device: { kind: 'fs', id: 'f', path: '/f', tag: 'f', readOnly: false },
      mountAt: '/m',
    });
    expect(deviceOf({ kind: 'net' }).device).toMatchObject({
      mac: expect.stringMatching(/^02(:[0-9a-f]{2}){5}$/) as string,
    });
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['no object', 'disk'],
    ['no kind', { path: '/a' }],
    ['a kind of the object itself', { kind: 'toString' }],
    ['a CPU, which `resize` gives', { kind: 'cpu', count: 1 }],
    ['a relative mount point', { kind: 'fs', path: '/f', mountAt: 'm' }],
    ['a mount point that climbs', { kind: 'fs', path: '/f', mountAt: '/m/../..' }],
    ['the root as mount point', { kind: 'fs', path: '/f', mountAt: '/' }],
  ])('is refused when it is %s', (_, spec) => {
    expect(codeIn(() => deviceOf(spec as DeviceSpec))).toBe('INVALID_ARGUMENT');
  });
});
