import { VmError } from '../errors.ts';
import { type AssetType, assetFields, assetTypes, type CustomAsset } from './asset-type.ts';
import { show } from './show.ts';
import type { VmConfigInput } from './vm-config.ts';

/** The fields of a config that say where assets are: a complete config and what users write both have them. */
export type AssetConfig = Pick<VmConfigInput, (typeof assetFields)[AssetType] | 'customAssets'>;

/**
 * The config with a custom asset in place of the configured one. An absent asset or an empty path changes nothing.
 * @throws {VmError} INVALID_CONFIG when the path is not absolute or the hash no SHA-512; INVALID_ARGUMENT for an unknown
 * type of asset
 */
export function addCustomAsset<C extends AssetConfig>(config: C, type: AssetType, asset: CustomAsset | undefined): C {
  checkType(type);
  if (asset === undefined || asset.path === '') return config;
  const field = `customAssets.${type}`;
  if (!asset.path.startsWith('/') || /\p{Cc}/u.test(asset.path)) {
    throw new VmError('INVALID_CONFIG', `Invalid ${type} at ${show(asset.path)}: an absolute path is needed`, {
      field,
    });
  }
  if (asset.sha512 !== undefined && !/^[0-9a-fA-F]{128}$/.test(asset.sha512)) {
    throw new VmError('INVALID_CONFIG', `Invalid ${type}: its SHA-512 must be 128 hexadecimal digits`, { field });
  }
  return { ...config, customAssets: { ...config.customAssets, [type]: asset } };
}

/**
 * The path of an asset: the custom one, else the configured one, else undefined.
 * @throws {VmError} INVALID_ARGUMENT for an unknown type of asset
 */
export function assetPath(config: AssetConfig, type: AssetType): string | undefined {
  checkType(type);
  return config.customAssets?.[type]?.path ?? config[assetFields[type]];
}

/**
 * Whether the asset is a custom one.
 * @throws {VmError} INVALID_ARGUMENT for an unknown type of asset
 */
export function isCustomAsset(config: AssetConfig, type: AssetType): boolean {
  checkType(type);
  return config.customAssets?.[type] !== undefined;
}

/** The field to name when something is wrong with an asset: where its path comes from. */
export function assetFieldName(config: AssetConfig, type: AssetType): string {
  return isCustomAsset(config, type) ? `customAssets.${type}` : assetFields[type];
}

function checkType(type: AssetType): void {
  if (assetTypes.includes(type)) return;
  throw new VmError('INVALID_ARGUMENT', `Unknown asset type ${show(type)} (known: ${assetTypes.join(', ')})`);
}
