import { DEFAULT_MSIZE_9P_BYTES } from '../defaults.ts';
import { choice, type FieldSpecs, integer, path, text } from '../field-info.ts';

/** How a folder is shared with the guest. */
export type SharedFs = 'virtio-9p' | 'virtio-fs';
/** What a guest may cache of a shared folder. */
export type VirtioFsCache = 'none' | 'never' | 'metadata' | 'auto' | 'always';

/** Fields about folders that host and guest share. */
export interface SharingConfig {
  readonly sharedFs: SharedFs;
  /** Largest 9p message, in bytes; absent with virtio-fs. */
  readonly msize9pBytes?: number | undefined;
  /** The virtio-fs daemon's executable. */
  readonly virtioFsDaemon?: string | undefined;
  /** What the guest may keep of a virtio-fs folder; absent with 9p. */
  readonly virtioFsCache?: VirtioFsCache | undefined;
  /** DAX window of virtio-fs, in MiB. */
  readonly virtioFsCacheSizeMiB?: number | undefined;
  readonly virtioFsExtraArgs: readonly string[];
}

/** The 9p client of Linux takes no smaller messages. */
const MIN_MSIZE_BYTES = 4096;

export const sharingFields: FieldSpecs<SharingConfig> = {
  sharedFs: {
    kataName: 'SharedFS',
    tomlKey: 'shared_fs',
    type: choice('virtio-9p', 'virtio-fs'),
    default: 'virtio-9p',
    meaning: 'How folders are shared with the guest.',
  },
  msize9pBytes: {
    kataName: 'Msize9p',
    tomlKey: 'msize_9p',
    type: integer(MIN_MSIZE_BYTES),
    unit: 'bytes',
    defaultNote: `${DEFAULT_MSIZE_9P_BYTES}; none with virtio-fs`,
    meaning: 'Largest message of a 9p share. Not with virtio-fs.',
  },
  virtioFsDaemon: {
    kataName: 'VirtioFSDaemon',
    tomlKey: 'virtio_fs_daemon',
    type: path,
    defaultNote: 'none: needed with virtio-fs',
    meaning: 'The virtio-fs daemon (virtiofsd).',
  },
  virtioFsCache: {
    kataName: 'VirtioFSCache',
    tomlKey: 'virtio_fs_cache',
    type: choice('none', 'never', 'metadata', 'auto', 'always'),
    defaultNote: 'auto with virtio-fs',
    meaning: 'What the guest may cache of a virtio-fs folder. Which words are known depends on the daemon.',
  },
  virtioFsCacheSizeMiB: {
    kataName: 'VirtioFSCacheSize',
    tomlKey: 'virtio_fs_cache_size',
    type: integer(1),
    unit: 'MiB',
    defaultNote: 'no DAX',
    meaning: 'Size of the DAX window of virtio-fs.',
  },
  virtioFsExtraArgs: {
    kataName: 'VirtioFSExtraArgs',
    tomlKey: 'virtio_fs_extra_args',
    type: { kind: 'list', of: text(/^[^\p{Cc}]{1,4096}$/u, 'an argument without control characters') },
    default: [],
    meaning: 'Further arguments for the virtio-fs daemon.',
  },
};
