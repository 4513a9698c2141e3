import { describe, expect, test } from 'vitest';
import { type AssetType, assetFields, assetTypes } from '../../../src/config/asset-type.ts';
import {
  addCustomAsset,
  type AssetConfig,
  assetFieldName,
  assetPath,
  isCustomAsset,
} from '../../../src/config/assets.ts';
import { errorOf } from './fixture.ts';

test.each(assetTypes)('%s: custom over configured', (type) => {
  const configured = { [assetFields[type]]: '/configured' };
  expect(assetPath({}, type)).toBeUndefined();
  expect(assetPath(configured, type)).toBe('/configured');
  expect(isCustomAsset(configured, type)).toBe(false);
  expect(assetFieldName(configured, type)).toBe(assetFields[type]);
  const custom = addCustomAsset(configured, type, { path: '/custom' });
  expect(assetPath(custom, type)).toBe('/custom');
  expect(isCustomAsset(custom, type)).toBe(true);
  expect(assetFieldName(custom, type)).toBe(`customAssets.${type}`);
  expect(assetPath(configured, type)).toBe('/configured');
});

test('several custom assets stand beside each other, the last of a type counts', () => {
  const none: AssetConfig = {};
  const first = addCustomAsset(none, 'kernel', { path: '/a' });
  const second = addCustomAsset(addCustomAsset(first, 'initrd', { path: '/i' }), 'kernel', { path: '/b' });
  expect(second.customAssets).toEqual({ kernel: { path: '/b' }, initrd: { path: '/i' } });
});

test('no asset, or one with an empty path, changes nothing', () => {
  const config = { kernel: '/k' };
  expect(addCustomAsset(config, 'kernel', undefined)).toBe(config);
  expect(addCustomAsset(config, 'kernel', { path: '' })).toBe(config);
});

describe('refused', () => {
  test.each([{ path: 'relative' }, { path: '/a\nb' }, { path: '/a', sha512: 'abc' }])('%j', (asset) => {
    const error = errorOf(() => addCustomAsset({}, 'kernel', asset));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.facts.field).toBe('customAssets.kernel');
    expect(error.message).toContain('Invalid kernel');
  });

  test('an unknown type', () => {
    const type = 'toString' as AssetType;
    for (const call of [
      () => assetPath({}, type),
      () => isCustomAsset({}, type),
      () => addCustomAsset({}, type, { path: '/a' }),
    ]) {
      const error = errorOf(call);
      expect(error.code).toBe('INVALID_ARGUMENT');
      expect(error.message).toContain('Unknown asset type');
    }
  });
});
