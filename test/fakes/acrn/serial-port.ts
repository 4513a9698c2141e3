import { existsSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';

/**
 * A port of virtio-console on a socket: `[@]socket:NAME=PATH`. Its guest's end is one long connection that learns nothing of clients that
 * come and go, and what the guest says while there is none is lost.
 */
export function servePort(option: string, guestFolder: string): void {
  const [, name = '', file = ''] = /^@?socket:([^=]+)=(.+)$/.exec(option) ?? [];
  if (existsSync(file)) unlinkSync(file);
  let client: net.Socket | undefined;
  const [, channel] = /^agent\.channel\.(\d+)$/.exec(name) ?? [];
  const guest = channel === undefined ? undefined : net.connect(path.join(guestFolder, `agent${channel}.sock`));
  guest?.on('data', (data) => client?.write(data)).on('error', () => undefined);
  net
    .createServer((next) => {
      next.on('error', () => undefined);
      // A second one is not served.
      if (client !== undefined) return void next.destroy();
      client = next;
      next.on('data', (data) => guest?.write(data)).on('close', () => (client = undefined));
    })
    .listen(file);
}
