import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Vm } from '../../src/sandbox/vm.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { getTestpmd } from '../rigs/testpmd.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest } from './guest.ts';

/*
 * Devices whose other end is another process (vhost-user) or the host's kernel (macvtap), told by what passes through them.
 */

const root = process.geteuid?.() === 0;
const virtiofsd = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd'].find((file) => existsSync(file));
const testpmd = root ? getTestpmd() : 'it needs root';
/** None of Debian's packages has it. */
const vhostScsi = spawnSync('/bin/sh', ['-c', 'command -v vhost-device-scsi'], { encoding: 'utf8' }).stdout.trim();
const namespace = `pv-served-${process.pid}`;

let folder: string;
let vm: Vm;

keepsAcrossTests('file', /\/(devices|attached)\.json|\/jail\/dev\/net/);

const file = (name: string): string => path.join(folder, name);
const sh = async (script: string): Promise<string> =>
  (await vm.exec(['sh', '-c', script], { check: true })).stdout.trim();
const inNamespace = (...words: string[]): string =>
  execFileSync('ip', ['-n', namespace, ...words], { encoding: 'utf8' });
const addressOf = (name: string): string =>
  /link\/ether (\S+)/.exec(inNamespace('link', 'show', 'dev', name))?.[1] ?? '';
/** Resolves when a server has made its socket. */
async function listening(server: ChildProcess, socket: string): Promise<void> {
  while (!existsSync(socket)) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`);
    await sleep(10);
  }
  chmodSync(socket, 0o666);
}
async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exit = once(server, 'exit');
  server.kill('SIGKILL');
  await exit;
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'served-'));
  chmodSync(folder, 0o755);
  if (root) {
    execFileSync('ip', ['netns', 'add', namespace]);
    inNamespace('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far');
    for (const name of ['mv0', 'mv1']) {
      inNamespace('link', 'add', 'link', 'near', 'name', name, 'type', 'macvtap', 'mode', 'bridge');
      inNamespace('link', 'set', name, 'up');
    }
    for (const name of ['near', 'far']) inNamespace('link', 'set', name, 'up');
    inNamespace('addr', 'add', '10.7.0.1/16', 'dev', 'far');
    inNamespace('tuntap', 'add', 'tap0', 'mode', 'tap');
    inNamespace('link', 'set', 'tap0', 'up');
  }
  vm = await Vm.create({
    ...smallGuest,
    sharedFs: 'virtio-fs',
    virtioFsDaemon: virtiofsd ?? '/bin/false',
    networkNamespace: root ? `/var/run/netns/${namespace}` : undefined,
    devices: root ? [{ kind: 'net', id: 'first', tap: 'mv0', tapType: 'macvtap' }] : [],
  });
});

afterAll(async () => {
  await vm.remove();
  if (root) execFileSync('ip', ['netns', 'del', namespace]);
  rmSync(folder, { recursive: true });
});

describe.runIf(root)('a macvtap', () => {
  it('at the start carries packets, under its own address', async () => {
    expect(await sh('cat /sys/class/net/eth0/address')).toBe(addressOf('mv0'));
    expect(await sh('ip addr add 10.7.0.2/16 dev eth0; ip link set eth0 up; ping -c 1 -W 5 10.7.0.1')).toContain(
      '1 packets received',
    );
    await sh('ip addr flush dev eth0; ip link set eth0 down');
  });

  it('while it runs, with several queues; what is opened after it is no macvtap', async () => {
    await vm.attachDevice({ kind: 'net', id: 'hot', tap: 'mv1', tapType: 'macvtap', queues: 2 });
    expect(await sh('cat /sys/class/net/eth1/address')).toBe(addressOf('mv1'));
    expect(await sh('ip addr add 10.7.0.3/16 dev eth1; ip link set eth1 up; ping -c 1 -W 5 10.7.0.1')).toContain(
      '1 packets received',
    );
    expect(inNamespace('link', 'show', 'dev', 'tap0')).not.toContain('LOWER_UP');
    await vm.attachDevice({ kind: 'net', id: 'tap', tap: 'tap0' });
    expect(inNamespace('link', 'show', 'dev', 'tap0')).toContain('LOWER_UP');
    await vm.detachDevice('tap');
    await vm.detachDevice('hot');
    expect(await sh('ls /sys/class/net')).toBe('eth0\nlo');
    // What is gone can come again.
    await vm.attachDevice({ kind: 'net', id: 'hot', tap: 'mv1', tapType: 'macvtap' });
    await vm.detachDevice('hot');
  });

  it('is refused under another address, under a name that is no macvtap, and twice', async () => {
    const mac = '02:00:00:00:00:09';
    expect(await codeOf(vm.attachDevice({ kind: 'net', tap: 'mv1', tapType: 'macvtap', mac }))).toBe(
      'INVALID_ARGUMENT',
    );
    expect(await codeOf(vm.attachDevice({ kind: 'net', tap: 'tap0', tapType: 'macvtap' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(vm.attachDevice({ kind: 'net', tap: 'mv1' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(vm.attachDevice({ kind: 'net', tap: 'mv0', tapType: 'macvtap' }))).toBe('INVALID_ARGUMENT');
    await vm.check();
  });
});

it.runIf(root)('a VM with a macvtap goes on with it from a snapshot', async () => {
  const snapshot = file('snapshot');
  await vm.snapshot(snapshot);
  expect(await codeOf(Vm.restore(snapshot))).toBe('INVALID_ARGUMENT');
  const restored = await Vm.restore(snapshot, { networkNamespace: `/var/run/netns/${namespace}` });
  try {
    const script = 'ip addr add 10.7.0.4/16 dev eth0; ip link set eth0 up; ping -c 1 -W 5 10.7.0.1';
    expect((await restored.exec(['sh', '-c', script], { check: true })).stdout).toContain('1 packets received');
  } finally {
    await restored.remove();
    rmSync(snapshot, { recursive: true });
  }
});

describe('what another process serves', () => {
  it.skipIf(typeof testpmd === 'string')(
    `a network card: ${typeof testpmd === 'string' ? testpmd : 'testpmd'}`,
    async () => {
      if (typeof testpmd === 'string') return;
      const socket = file('net.sock');
      const server = testpmd.start(socket);
      try {
        await listening(server, socket);
        const mac = '02:00:00:00:00:55';
        await vm.attachDevice({ kind: 'vhost-user', id: 'served', type: 'net', socket, mac });
        const name = await sh(`basename $(dirname $(grep -l ${mac} /sys/class/net/*/address))`);
        expect(
          await sh(`ip addr add 10.9.0.1/24 dev ${name}; ip link set ${name} up; ping -c 2 -W 5 10.9.0.2`),
        ).toContain('2 packets received');
        await vm.detachDevice('served');
        expect(await sh('ls /sys/class/net')).not.toContain(name);
      } finally {
        await ended(server);
        rmSync(socket, { force: true });
      }
    },
  );

  it.skipIf(virtiofsd === undefined || !root)('a folder, by a virtiofsd that is not ours', async () => {
    mkdirSync(file('share'));
    writeFileSync(file('share/hello'), 'from the host\n');
    const socket = file('fs.sock');
    const words = [
      `--socket-path=${socket}`,
      ...(virtiofsd?.includes('qemu') === true
        ? ['-f', '-o', `source=${file('share')}`]
        : ['--shared-dir', file('share')]),
    ];
    const server = spawn(virtiofsd ?? '', words, { stdio: 'ignore' });
    try {
      await listening(server, socket);
      await vm.attachDevice({ kind: 'vhost-user', id: 'folder', type: 'fs', socket, tag: 'theirs' });
      expect(await sh('mkdir -p /theirs; mount -t virtiofs theirs /theirs; cat /theirs/hello; umount /theirs')).toBe(
        'from the host',
      );
      await vm.detachDevice('folder');
    } finally {
      await ended(server);
      rmSync(socket, { force: true });
    }
  });

  it.skipIf(vhostScsi === '')('SCSI disks, by vhost-device-scsi (`cargo install`)', async () => {
    writeFileSync(file('scsi'), Buffer.alloc(1 << 20, 'by SCSI'));
    const socket = file('scsi.sock');
    const server = spawn(vhostScsi, ['--read-only', '--socket-path', socket, file('scsi')], { stdio: 'ignore' });
    try {
      await listening(server, socket);
      await vm.attachDevice({ kind: 'vhost-user', id: 'disks', type: 'scsi', socket });
      // Of this kind QEMU can't be asked whether the guest drives it.
      await sh('until [ -b /dev/sda ]; do sleep 0.1; done');
      expect(await sh('head -c 7 /dev/sda')).toBe('by SCSI');
      await vm.detachDevice('disks');
      expect(await sh('ls /sys/block')).toBe('');
    } finally {
      await ended(server);
      rmSync(socket, { force: true });
    }
  });

  it('is refused when nobody listens', async () => {
    const socket = file('dead.sock');
    const server = net.createServer().listen(socket);
    await once(server, 'listening');
    chmodSync(socket, 0o666);
    // A socket that nobody listens on any more, as a server that was killed leaves it.
    execFileSync('cp', ['--archive', socket, file('left.sock')]);
    server.close();
    const left = await failure(
      vm.attachDevice({ kind: 'vhost-user', id: 'gone', type: 'blk', socket: file('left.sock') }),
    );
    rmSync(file('left.sock'));
    expect(left.code).toBe('INVALID_ARGUMENT');
    expect((await vm.inspect()).devices.map(({ device }) => device.id)).toEqual(root ? ['first'] : []);
    await vm.check();
  });
});
