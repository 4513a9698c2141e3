import path from 'node:path';
import { VmError } from '../errors.ts';
import type { DiskSpec, DeviceSpec, FolderSpec } from './device-spec.ts';

/*
 * Devices in a word each, as a command line names them. What has commas, colons or quotes of its own is taken as it is where that can be told.
 */

/** Reads `HOST:GUEST[:ro]`, a folder of this host and where the guest mounts it. @throws {VmError} INVALID_ARGUMENT */
export function parseFolder(text: string): FolderSpec {
  const [, host = '', mountAt = '', access] = /^(.+?):(\/[^:]*)(?::(ro|rw))?$/.exec(text) ?? [];
  if (host === '') {
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no folder as HOST:GUEST[:ro]`, {
      field: 'volume',
      advice: "Write ./src:/src, or /etc:/mnt/etc:ro; the guest's path begins with a slash.",
    });
  }
  return { kind: 'fs', path: path.resolve(host), mountAt, readOnly: access === 'ro' };
}

/** Reads `FILE[:qcow2][:ro]`, a disk. @throws {VmError} INVALID_ARGUMENT */
export function parseDisk(text: string): DiskSpec {
  const [, file = '', words = ''] = /^(.+?)((?::(?:raw|qcow2|ro|rw))*)$/.exec(text) ?? [];
  if (file === '') {
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no disk as FILE[:qcow2][:ro]`, {
      field: 'disk',
      advice: 'Write data.img, or data.qcow2:qcow2:ro.',
    });
  }
  const given = new Set(words.split(':'));
  return {
    kind: 'block',
    path: path.resolve(file),
    format: given.has('qcow2') ? 'qcow2' : 'raw',
    readOnly: given.has('ro'),
  };
}

/** Reads `none`, `user`, `tap=NAME` or `macvtap=NAME`, a network. @returns undefined for none @throws {VmError} INVALID_ARGUMENT */
export function parseNet(text: string): DeviceSpec | undefined {
  if (text === 'none') return undefined;
  if (text === 'user') return { kind: 'net' };
  const [, tapType, tap] = /^(tap|macvtap)=(.+)$/.exec(text) ?? [];
  if (tap !== undefined) return tapType === 'macvtap' ? { kind: 'net', tap, tapType } : { kind: 'net', tap };
  throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no network`, {
    field: 'net',
    advice: 'Write none, user, tap=NAME or macvtap=NAME.',
  });
}
