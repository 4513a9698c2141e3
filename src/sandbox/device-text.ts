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

/** Other words for the keys of a mount, as docker has them. */
const mountKeys: Readonly<Record<string, string>> = {
  source: 'source',
  src: 'source',
  target: 'target',
  dst: 'target',
  destination: 'target',
  type: 'type',
  readonly: 'readonly',
  ro: 'readonly',
  driver: 'driver',
  id: 'id',
};

/**
 * Reads `type=bind,source=HOST,target=GUEST[,readonly][,driver=virtio-fs|virtio-9p][,id=ID]`, a folder, as docker's `--mount`. A field with a comma in it is
 * written in double quotes.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function parseMount(text: string): FolderSpec {
  const given = new Map<string, string>();
  for (const field of mountFields(text)) {
    const [, name = field, value] = /^([^=]*)=(.*)$/s.exec(field) ?? [];
    const key = Object.hasOwn(mountKeys, name) ? (mountKeys[name] as string) : undefined;
    if (key === undefined) throw noMount(text, `it has no ${JSON.stringify(name)}`);
    if (given.has(key)) throw noMount(text, `it says ${key} twice`);
    if (value === undefined && key !== 'readonly') throw noMount(text, `${name} has no value`);
    given.set(key, value ?? 'true');
  }
  const [source = '', target = '', id] = [given.get('source'), given.get('target'), given.get('id')];
  const [type = 'bind', readonly = 'false', driver] = [given.get('type'), given.get('readonly'), given.get('driver')];
  if (type !== 'bind') throw noMount(text, `its type is bind, not ${JSON.stringify(type)}`);
  if (source === '' || !target.startsWith('/'))
    throw noMount(text, 'it has a source, and a target that begins with a slash');
  if (readonly !== 'true' && readonly !== 'false') throw noMount(text, 'readonly is true or false');
  if (driver !== undefined && driver !== 'virtio-fs' && driver !== 'virtio-9p')
    throw noMount(text, 'its driver is virtio-fs or virtio-9p');
  const how: Pick<FolderSpec, 'driver' | 'id'> = {};
  if (driver !== undefined) how.driver = driver;
  if (id !== undefined) how.id = id;
  return { kind: 'fs', path: path.resolve(source), mountAt: target, readOnly: readonly === 'true', ...how };
}

function mountFields(text: string): string[] {
  const fields: string[] = [];
  for (let rest = text; ;) {
    const [whole, quoted, plain = ''] = /^(?:"((?:[^"]|"")*)"|([^",]*))(?=,|$)/.exec(rest) ?? [];
    if (whole === undefined) throw noMount(text, 'a field in quotes is in quotes as a whole');
    fields.push(quoted?.replaceAll('""', '"') ?? plain);
    if (whole.length === rest.length) return fields;
    rest = rest.slice(whole.length + 1);
  }
}

function noMount(text: string, why: string): VmError {
  return new VmError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no mount: ${why}`, {
    field: 'mount',
    advice: 'Write type=bind,source=./src,target=/src, with ,readonly behind it if need be.',
  });
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
