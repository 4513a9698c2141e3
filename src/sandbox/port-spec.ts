import { VmError } from '../errors.ts';
import type { PortForwardOptions } from './port-forward.ts';

/**
 * Reads `[addr:]host:guest`, as `-p` takes it: ports, or absolute paths of unix sockets; one port alone is the guest's, and any port of the
 * host will do. An IPv6 address is written in brackets.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function parsePortSpec(text: string): PortForwardOptions {
  const match = /^(?:(?:(\[[^\]]+\]|[^:/[\]]+):)?(\d+|\/[^:]*):)?(\d+|\/.+)$/.exec(text);
  const [, address, host, guest = ''] = match ?? [];
  if (match === null || (address !== undefined && host?.startsWith('/') === true)) {
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no port as [addr:]host:guest`, {
      field: 'ports',
      advice: 'Write 8080:80, 127.0.0.1:8080:80, or 80 for any free port of this host.',
    });
  }
  return {
    ...(address === undefined ? {} : { hostAddress: address.replace(/^\[|\]$/g, '') }),
    ...(host === undefined ? {} : host.startsWith('/') ? { hostPath: host } : { hostPort: Number(host) }),
    ...(guest.startsWith('/') ? { guestPath: guest } : { guestPort: Number(guest) }),
  };
}
