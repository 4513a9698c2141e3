import { isIPv4, isIPv6 } from 'node:net';
import { VmError } from '../../errors.ts';

/** What fits the guest's `sun_path` beside the ending NUL. */
const MAX_PATH_BYTES = 107;

/**
 * An address in the guest as it is, if it is one: `tcp:HOST:PORT` (IPv4, IPv6 in brackets, or localhost) or `unix:/path`.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function checkAddress(address: string, operation: string): string {
  const problem = addressProblem(address);
  if (problem === undefined) return address;
  throw new VmError('INVALID_ARGUMENT', `address: ${problem}, not ${JSON.stringify(address)}`, {
    operation,
    field: 'address',
  });
}

function addressProblem(address: string): string | undefined {
  if (typeof address !== 'string') return 'must be a string';
  if (address.startsWith('unix:')) {
    const path = address.slice('unix:'.length);
    if (!path.startsWith('/') || path.includes('\0')) return 'the path of a unix socket must be absolute';
    return Buffer.byteLength(path) > MAX_PATH_BYTES ? `the path may have at most ${MAX_PATH_BYTES} bytes` : undefined;
  }
  const [, host = '', port = ''] = /^tcp:(.+):(\d{1,5})$/.exec(address) ?? [];
  if (port === '' || Number(port) > 65_535) return 'must be tcp:HOST:PORT or unix:/path';
  if (host === 'localhost' || isIPv4(host)) return undefined;
  return host.startsWith('[') && host.endsWith(']') && isIPv6(host.slice(1, -1)) && !host.includes('%')
    ? undefined
    : 'HOST must be an IPv4 address, an IPv6 address in brackets, or localhost';
}
