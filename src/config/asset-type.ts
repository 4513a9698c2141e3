/** Files a VM is made of that can be replaced one by one. */
export type AssetType = 'kernel' | 'image' | 'initrd' | 'hypervisor' | 'hypervisorCtl' | 'jailer' | 'firmware';

/** The config field that holds the configured path of an asset. */
export type AssetField =
  | 'kernel'
  | 'image'
  | 'initrd'
  | 'hypervisorPath'
  | 'hypervisorCtlPath'
  | 'jailerPath'
  | 'firmware';

/** Which config field a custom asset takes precedence over. */
export const assetFields: Readonly<Record<AssetType, AssetField>> = {
  kernel: 'kernel',
  image: 'image',
  initrd: 'initrd',
  hypervisor: 'hypervisorPath',
  hypervisorCtl: 'hypervisorCtlPath',
  jailer: 'jailerPath',
  firmware: 'firmware',
};

/** Every asset type. */
export const assetTypes: readonly AssetType[] = Object.keys(assetFields) as AssetType[];

/** A file that takes the place of the configured one. */
export interface CustomAsset {
  /** Absolute path on the host. */
  readonly path: string;
  /** SHA-512 of the file, 128 hexadecimal digits; checked before the VM is started. */
  readonly sha512?: string | undefined;
}

/** Custom assets by type. */
export type CustomAssets = { readonly [T in AssetType]?: CustomAsset | undefined };
