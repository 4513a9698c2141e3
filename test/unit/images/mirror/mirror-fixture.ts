import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { hostArchitecture } from '../../../../src/images/host-architecture.ts';
import { elfFile, moduleFile } from '../elf-fixture.ts';
import { bzImage } from '../image-fixture.ts';

const release = '6.1.0-1-cloud';
const { kernelPackage: meta, debian } = hostArchitecture();

/** A small mirror of Debian: a signed repository, and a server of it on this host. */
export interface Mirror {
  url: string;
  /** the public key */
  keyring: string;
  /** what is served, by its path */
  files: Map<string, Buffer>;
  /** paths that were asked for */
  asked: string[];
  /** describes the packages anew and signs that */
  publish(more?: { suite?: string; validUntil?: Date; byHash?: boolean }): void;
  /** SHA-256 of the Release file */
  digest(): string;
  close(): Promise<void>;
}

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

export async function serveMirror(folder: string): Promise<Mirror> {
  const files = new Map<string, Buffer>();
  const home = path.join(folder, 'gpg');
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const gpg = (...words: string[]): Buffer =>
    execFileSync(
      '/usr/bin/gpg',
      ['--homedir', home, '--batch', '--no-tty', '--yes', '-q', '--passphrase', '', ...words],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
  gpg('--quick-generate-key', 'mirror@test', 'ed25519', 'sign', 'never');
  const keyring = path.join(folder, 'keyring.gpg');
  writeFileSync(keyring, gpg('--export'));

  const kernel = path.join(folder, 'kernel');
  const modules = path.join(kernel, 'usr/lib/modules', release, 'kernel/drivers');
  mkdirSync(modules, { recursive: true });
  mkdirSync(path.join(kernel, 'boot'));
  writeFileSync(path.join(kernel, 'boot', `vmlinuz-${release}`), bzImage(elfFile({ '.text': Buffer.from('mirror') })));
  for (const name of ['virtio', 'virtio_pci', 'virtio_console'])
    writeFileSync(path.join(modules, `${name}.ko`), moduleFile(name === 'virtio' ? ['depends='] : ['depends=virtio']));
  const busybox = path.join(folder, 'busybox');
  mkdirSync(path.join(busybox, 'usr/bin'), { recursive: true });
  writeFileSync(path.join(busybox, 'usr/bin/busybox'), '#!/bin/sh\nprintf "bin/busybox\\nbin/sh\\n"\n', {
    mode: 0o755,
  });
  const pool = (name: string): string => `pool/main/x/${name}_1+b1_${debian}.deb`;
  files.set(pool(`linux-image-${release}`), deb(folder, kernel, 'xz'));
  files.set(pool('busybox-static'), deb(folder, busybox, 'gz'));

  const publish: Mirror['publish'] = ({ suite = 'bookworm', validUntil, byHash = true } = {}) => {
    const stanzas = [
      `Package: ${meta}\nVersion: 1\nDepends: linux-image-${release} (= 1), x | y\nFilename: ${pool('none')}\nSize: 1\nSHA256: ${sha256(Buffer.alloc(1))}`,
      ...[`linux-image-${release}`, 'busybox-static'].map((name) => {
        const data = files.get(pool(name)) as Buffer;
        return `Package: ${name}\nVersion: 1\nDescription: x\n more\nFilename: ${pool(name)}\nSize: ${data.length}\nSHA256: ${sha256(data)}`;
      }),
    ];
    const list = gzipSync(`${stanzas.join('\n\n')}\n`);
    const place = `main/binary-${debian}/`;
    files.set(`dists/bookworm/${place}Packages.gz`, list);
    files.set(`dists/bookworm/${place}by-hash/SHA256/${sha256(list)}`, list);
    const lines = [
      'Origin: Debian',
      `Suite: stable`,
      `Codename: ${suite}`,
      ...(validUntil === undefined ? [] : [`Valid-Until: ${validUntil.toUTCString()}`]),
      ...(byHash ? ['Acquire-By-Hash: yes'] : []),
      'MD5Sum:',
      ` 00000000000000000000000000000000 ${list.length} ${place}Packages.gz`,
      'SHA256:',
      ` ${sha256(list)} ${list.length} ${place}Packages.gz`,
    ];
    const file = path.join(folder, 'Release');
    writeFileSync(file, `${lines.join('\n')}\n`);
    files.set('dists/bookworm/Release', readFileSync(file));
    files.set('dists/bookworm/InRelease', gpg('--clear-sign', '--output', '-', file));
  };
  publish();

  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    const name = (request.url ?? '').replace(/^\/debian\//, '');
    asked.push(name);
    const data = files.get(name);
    if (data === undefined) response.writeHead(404).end();
    else response.end(data);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/debian`,
    keyring,
    files,
    asked,
    publish,
    digest: () => sha256(files.get('dists/bookworm/Release') as Buffer),
    close: async () => {
      execFileSync('/usr/bin/gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'pipe' });
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A package as dpkg-deb makes it, without what installs it. */
function deb(folder: string, content: string, packing: 'xz' | 'gz'): Buffer {
  const tar = (from: string): Buffer =>
    execFileSync('/usr/bin/tar', ['-c', '--owner=0', '--group=0', packing === 'xz' ? '-J' : '-z', '-C', from, '.'], {
      maxBuffer: 1 << 26,
    });
  const control = path.join(folder, 'control');
  mkdirSync(control, { recursive: true });
  const members: [string, Buffer][] = [
    ['debian-binary', Buffer.from('2.0\n')],
    [`control.tar.${packing}`, tar(control)],
    [`data.tar.${packing}`, tar(content)],
  ];
  const parts = members.flatMap(([name, data]) => [
    Buffer.from(
      `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`,
    ),
    data,
    Buffer.alloc(data.length % 2, '\n'),
  ]);
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts]);
}
