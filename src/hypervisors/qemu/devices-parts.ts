import type { QmpClient } from '../../transports/qmp/client.ts';
import type { CallOptions } from '../../config/call-options.ts';

/*
 * A device of QEMU's is one `-device`, the front end that the guest sees, and the back ends that it names. Here they are data, which is
 * written on a command line or told a running QEMU's monitor.
 */

/** Values as QEMU's JSON takes them. */
export type Properties = { readonly [name: string]: unknown };

/** What a device needs to be there first. */
export type Backend =
  | { type: 'blockdev'; properties: Properties & { 'node-name': string } }
  | { type: 'object'; properties: Properties & { 'qom-type': string; id: string } }
  | {
      type: 'netdev';
      properties: { readonly [name: string]: string | number | boolean } & { type: string; id: string };
    }
  | { type: 'chardev'; id: string; path: string; server: boolean }
  | { type: 'fsdev'; properties: { readonly [name: string]: string | boolean } & { id: string } };

export interface DeviceParts {
  /** in the order in which they are made */
  backends: readonly Backend[];
  device: Properties & { driver: string; id: string };
}

/** A comma ends a value in QEMU's option strings and is written twice inside one (qemu(1), "-drive"). */
export function quoted(value: string): string {
  return value.replaceAll(',', ',,');
}

/** `-device` with JSON, in which a comma means nothing (QEMU >= 6.2). */
export function deviceArgument(properties: Properties): string[] {
  return ['-device', JSON.stringify(properties)];
}

/** `-object` with JSON (QEMU >= 6.0). */
export function object(properties: Properties): string[] {
  return ['-object', JSON.stringify(properties)];
}

/** The device on a command line. */
export function asArguments({ backends, device }: DeviceParts): string[] {
  return [...backends.flatMap(backendArguments), ...deviceArgument(device)];
}

function backendArguments(backend: Backend): string[] {
  switch (backend.type) {
    case 'blockdev':
      return ['-blockdev', JSON.stringify(backend.properties)];
    case 'object':
      return object(backend.properties);
    // These three take JSON in no version, or in newer ones only.
    case 'netdev': {
      const { type, ...rest } = backend.properties;
      return ['-netdev', [type, ...pairs(rest)].join(',')];
    }
    case 'chardev': {
      const { id, path, server } = backend;
      return ['-chardev', ['socket', ...pairs({ id, path, ...(server ? { server, wait: false } : {}) })].join(',')];
    }
    case 'fsdev':
      return ['-fsdev', ['local', ...pairs(backend.properties)].join(',')];
  }
}

function pairs(properties: { readonly [name: string]: string | number | boolean }): string[] {
  return Object.entries(properties).map(([name, value]) => {
    const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
    return `${name}=${quoted(text)}`;
  });
}

/** Makes a back end in a running QEMU. A file system's can't be made there. */
export async function makeBackend(qmp: QmpClient, backend: Backend, call: CallOptions): Promise<void> {
  switch (backend.type) {
    case 'blockdev':
      await qmp.execute('blockdev-add', backend.properties, call);
      break;
    case 'object':
      await qmp.execute('object-add', backend.properties, call);
      break;
    case 'netdev':
      await qmp.execute('netdev_add', backend.properties, call);
      break;
    case 'chardev': {
      const { id, path, server } = backend;
      const data = { addr: { type: 'unix', data: { path } }, server, ...(server ? { wait: false } : {}) };
      await qmp.execute('chardev-add', { id, backend: { type: 'socket', data } }, call);
      break;
    }
    case 'fsdev':
      throw new Error('QEMU has no monitor command for a file system');
  }
}

/** Removes a back end from a running QEMU. @throws {VmError} VMM_FAILED, also when it isn't there */
export async function removeBackend(qmp: QmpClient, backend: Backend, call: CallOptions): Promise<void> {
  switch (backend.type) {
    case 'blockdev':
      await qmp.execute('blockdev-del', { 'node-name': backend.properties['node-name'] }, call);
      break;
    case 'object':
      await qmp.execute('object-del', { id: backend.properties.id }, call);
      break;
    case 'netdev':
      await qmp.execute('netdev_del', { id: backend.properties.id }, call);
      break;
    case 'chardev':
      await qmp.execute('chardev-remove', { id: backend.id }, call);
      break;
    case 'fsdev':
      break;
  }
}
