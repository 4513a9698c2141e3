import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VmError } from '../../src/errors.ts';
import type { DeviceSpec } from '../../src/sandbox/device-spec.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest } from './guest.ts';

/*
 * Devices of a real VM, told by what its guest sees after the call, and by what is left on the host after it.
 */

const mib = 2 ** 20;
const root = process.geteuid?.() === 0;
const namespace = `pv-devices-${process.pid}`;

let folder: string;
let vm: Vm;

// A shared VM: what is plugged into it once may stay for the next test.
keepsAcrossTests('file', /\/(devices|attached)\.json|\/jail\/dev\/net|\/jail\/.*\/many/);
keepsAcrossTests('process', /virtiofsd/);

const file = (name: string): string => path.join(folder, name);
/** A file that a VMM with a uid of its own may use as well. */
function disk(name: string, content: Buffer = Buffer.alloc(mib, name)): string {
  writeFileSync(file(name), content);
  chmodSync(file(name), 0o666);
  return file(name);
}
async function sh(script: string, of: Vm = vm): Promise<string> {
  return (await of.exec(['sh', '-c', script], { check: true })).stdout.trim();
}
const disks = (): Promise<string> => sh('cd /sys/block && ls -d [vs]d* 2>/dev/null; true');
const ids = async (): Promise<string[]> => (await vm.inspect()).devices.map(({ device }) => device.id);
/** What the VMM sees of a path. */
async function seen(of: string): Promise<boolean> {
  const [pid = 0] = (await vm.inspect()).pids;
  return existsSync(`/proc/${pid}/root${of}`);
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'devices-'));
  chmodSync(folder, 0o755);
  mkdirSync(file('share'));
  chmodSync(file('share'), 0o777);
  writeFileSync(file('share/hello'), 'from the host\n');
  if (root) {
    execFileSync('ip', ['netns', 'add', namespace]);
    execFileSync('ip', ['-n', namespace, 'tuntap', 'add', 'tap0', 'mode', 'tap', 'multi_queue']);
  }
  vm = await Vm.create({
    ...smallGuest,
    networkNamespace: root ? `/var/run/netns/${namespace}` : undefined,
    devices: [
      { kind: 'block', id: 'first', path: disk('first, "quoted".img'), serial: 'FIRST' },
      { kind: 'fs', id: 'work', path: file('share'), mountAt: '/mnt/shared' },
      { kind: 'net', id: 'user' },
    ],
  });
});

afterAll(async () => {
  await vm.remove();
  if (root) execFileSync('ip', ['netns', 'del', namespace]);
  rmSync(folder, { recursive: true });
});

describe('at the start', () => {
  it('has its disk, which the guest writes through to the host', async () => {
    expect(await sh('cat /sys/block/vda/serial; printf written | dd of=/dev/vda conv=notrunc 2>/dev/null; sync')).toBe(
      'FIRST',
    );
    expect(readFileSync(file('first, "quoted".img')).subarray(0, 7).toString()).toBe('written');
  });

  it('has its folder mounted, both ways', async () => {
    expect(await sh('cat /mnt/shared/hello; echo back >/mnt/shared/answer')).toBe('from the host');
    expect(readFileSync(file('share/answer'), 'utf8')).toBe('back\n');
  });

  it('has its network set up', async () => {
    expect(await sh('ip -4 -o addr show dev eth0')).toContain('10.0.2.15/24');
    expect(await sh('ping -c 1 -W 5 10.0.2.2')).toContain('1 packets received');
  });
});

describe('disks while it runs', () => {
  it('come with what is on them, and go; the VMM sees their files as long as they are there', async () => {
    const image = disk('plain');
    const where = await vm.attachDevice({ kind: 'block', id: 'plain', path: image, serial: 'P-1', ioThread: true });
    expect(where).toEqual({
      id: 'plain',
      kind: 'block',
      guestPath: expect.stringMatching(/^02\/[0-9a-f]{2}$/) as string,
    });
    expect(await disks()).toBe('vda\nvdb');
    expect(await sh('cat /sys/block/vdb/serial')).toBe('P-1');
    const hash = execFileSync('sha256sum', [image], { encoding: 'utf8' }).split(' ')[0];
    expect(await sh('sha256sum /dev/vdb')).toContain(hash);
    // Where the guest finds it is where we were told.
    const [bridge, slot] = (where.guestPath ?? '').split('/');
    expect(await sh('readlink -f /sys/block/vdb')).toMatch(new RegExp(`/0000:00:${bridge}\\.0/0000:..:${slot}\\.0/`));
    expect(await seen(image)).toBe(true);
    await vm.detachDevice('plain');
    expect(await disks()).toBe('vda');
    if (root) expect(await seen(image)).toBe(false);
  });

  it('by virtio-scsi, for reading only, and past the page cache', async () => {
    await vm.attachDevice({
      kind: 'block',
      id: 'scsi',
      path: disk('scsi'),
      driver: 'virtio-scsi',
      readOnly: true,
      serial: 'S',
    });
    const direct = { direct: true } as const;
    await vm.attachDevice({ kind: 'block', id: 'direct', path: disk('direct'), cache: direct, aio: 'native' });
    expect(await disks()).toBe('sda\nvda\nvdb');
    expect(
      await sh('cat /sys/block/sda/ro; head -c 4 /dev/sda; dd if=/dev/zero of=/dev/sda count=1 2>&1 || true'),
    ).toMatch(/^1\nscsi.*(Read-only|not permitted)/s);
    expect(await sh('head -c 6 /dev/vdb')).toBe('direct');
    await vm.detachDevice('scsi');
    await vm.detachDevice('direct');
    const refused = await vm.attachDevice({ kind: 'block', id: 'ring', path: disk('ring'), aio: 'io_uring' }).then(
      () => undefined,
      (error: unknown) => VmError.from(error),
    );
    // A kernel may have it turned off (kernel.io_uring_disabled), or be without it.
    if (refused === undefined) {
      expect(await sh('head -c 4 /dev/vdb')).toBe('ring');
      await vm.detachDevice('ring');
    } else expect(refused.code).toBe('UNSUPPORTED');
    expect(await disks()).toBe('vda');
  });

  it('keep to their limits', async () => {
    const twoMiB = Buffer.alloc(2 * mib, 'slow');
    await vm.attachDevice({
      kind: 'block',
      id: 'slow',
      path: disk('slow', twoMiB),
      rateLimit: { bytesPerSecond: mib, operationsPerSecond: 100_000 },
    });
    const began = performance.now();
    await sh('cat /dev/vdb >/dev/null');
    // The first second's worth may come at once.
    expect(performance.now() - began).toBeGreaterThan(700);
    await vm.detachDevice('slow');
    await vm.attachDevice({ kind: 'block', id: 'slow', path: disk('slow', twoMiB) });
    await vm.detachDevice('slow');
  });

  it('in qcow2, on a base only when it is named', async () => {
    const base = disk('base');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', file('top.qcow2')]);
    chmodSync(file('top.qcow2'), 0o666);
    const top: DeviceSpec = { kind: 'block', id: 'top', path: file('top.qcow2'), format: 'qcow2' };
    expect(await codeOf(vm.attachDevice(top))).toBe('FILE_INVALID');
    await vm.attachDevice({ ...top, backing: { path: base, format: 'raw' } });
    expect(
      await sh('head -c 4 /dev/vdb; printf over | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync; head -c 4 /dev/vdb'),
    ).toBe('baseover');
    await vm.detachDevice('top');
    expect(readFileSync(base).subarray(0, 4).toString()).toBe('base');
  });

  it('are detached by another handle than the one that attached them', async () => {
    await vm.attachDevice({ kind: 'block', id: 'handed', path: disk('handed') });
    const other = await Vm.connect(vm.name);
    try {
      await other.detachDevice('handed');
    } finally {
      await other.close();
    }
    expect(await disks()).toBe('vda');
  });
});

describe('other devices while it runs', () => {
  it('a folder for reading only, which no remount in the guest makes writable', async () => {
    await vm.attachDevice({ kind: 'fs', id: 'ro', path: file('share'), mountAt: '/ro', readOnly: root });
    expect(await sh('cat /ro/hello')).toBe('from the host');
    if (root) expect(await sh('mount -o remount,rw /ro; touch /ro/new 2>&1 || true')).toContain('Read-only');
    await vm.detachDevice('ro');
    expect(await sh('grep -c virtiofs /proc/mounts')).toBe('1');
  });

  it('a folder in use stays, and is told from one that is gone', async () => {
    const user = vm.exec(['sh', '-c', 'cd /mnt/shared && echo in && cat'], { stdin: 'pipe' });
    await user[Symbol.asyncIterator]().next();
    expect(await codeOf(vm.detachDevice('work'))).toBe('GUEST_REFUSED');
    user.stdin?.end();
    await user.exited;
    expect(await sh('cat /mnt/shared/hello')).toBe('from the host');
  });

  it('a serial port, whose other end is a socket', async () => {
    const { socket = '' } = await vm.attachDevice({ kind: 'serial-port', id: 'port', name: 'org.example' });
    const name = await sh('grep -l org.example /sys/class/virtio-ports/*/name | cut -d/ -f5');
    const host = net.connect(socket);
    await once(host, 'connect');
    const told = vm.exec(['sh', '-c', `read -r line </dev/${name} && echo "got $line"`], { check: true });
    host.write('a line\n');
    expect((await told).stdout).toBe('got a line\n');
    host.destroy();
    await vm.detachDevice('port');
    expect(existsSync(socket)).toBe(false);
  });

  it.runIf(root)('a tap device in the network namespace of the VMM, with several queues', async () => {
    const tap: DeviceSpec = { kind: 'net', id: 'tap', tap: 'tap0', queues: 2, mac: '02:00:00:00:00:77' };
    await vm.attachDevice(tap);
    expect(await sh('cat /sys/class/net/eth1/address')).toBe('02:00:00:00:00:77');
    expect(execFileSync('ip', ['-n', namespace, 'link', 'show', 'tap0'], { encoding: 'utf8' })).toContain('tap0');
    expect(await codeOf(vm.attachDevice({ ...tap, id: 'tap2' }))).toBe('INVALID_ARGUMENT');
    await vm.detachDevice('tap');
    expect(await sh('ls /sys/class/net')).toBe('eth0\nlo');
  });

  it('a disk that another process serves', async () => {
    const image = disk('served');
    const socket = file('served.sock');
    const server = spawn('qemu-storage-daemon', [
      ...['--blockdev', `driver=file,node-name=disk,filename=${image}`],
      ...['--export', `type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=${socket},writable=off`],
      ...['--pidfile', file('served.pid')],
    ]);
    try {
      await listening(server, file('served.pid'));
      chmodSync(socket, 0o666);
      await vm.attachDevice({ kind: 'vhost-user', id: 'served', type: 'blk', socket });
      expect(await sh('head -c 6 /dev/vdb')).toBe('served');
      await vm.detachDevice('served');
      expect(await disks()).toBe('vda');
    } finally {
      server.kill();
      await once(server, 'exit');
      rmSync(socket, { force: true });
    }
  });
});

describe('what is wrong', () => {
  const wrong: [what: string, code: string, spec: () => DeviceSpec][] = [
    ['a disk that is not there', 'FILE_NOT_FOUND', () => ({ kind: 'block', path: file('none') })],
    ['the same disk twice', 'INVALID_ARGUMENT', () => ({ kind: 'block', path: file('first, "quoted".img') })],
    ['an id that is taken', 'INVALID_ARGUMENT', () => ({ kind: 'block', id: 'first', path: disk('second') })],
    ["an id of the machine's own", 'INVALID_ARGUMENT', () => ({ kind: 'block', id: 'rng', path: disk('second') })],
    [
      'a read-only file to be written',
      'PERMISSION',
      () => {
        chmodSync(disk('fixed'), 0o444);
        return { kind: 'block', path: file('fixed') };
      },
    ],
    ['a raw file as qcow2', 'FILE_INVALID', () => ({ kind: 'block', path: disk('raw'), format: 'qcow2' })],
    ['aio native with the page cache', 'INVALID_ARGUMENT', () => ({ kind: 'block', path: disk('aio'), aio: 'native' })],
    [
      'an nvdimm where none has a place',
      'INVALID_CONFIG',
      () => ({ kind: 'block', path: disk('nv'), driver: 'nvdimm' }),
    ],
    ['a folder by 9p', 'UNSUPPORTED', () => ({ kind: 'fs', path: file('share'), driver: 'virtio-9p' })],
    ['a folder with a DAX window', 'UNSUPPORTED', () => ({ kind: 'fs', path: file('share'), daxSizeMiB: 64 })],
    [
      'a folder where none can be mounted',
      'AGENT_FAILED',
      () => ({ kind: 'fs', path: file('share'), mountAt: '/proc/x' }),
    ],
    ['a tap that is not there', 'INVALID_ARGUMENT', () => ({ kind: 'net', tap: 'none0' })],
    ['a macvtap that is not there', 'INVALID_ARGUMENT', () => ({ kind: 'net', tap: 'none0', tapType: 'macvtap' })],
    ['a vsock without vhost-vsock', 'HOST_MISSING', () => ({ kind: 'vsock' })],
    ['a device that the host has not', 'FILE_NOT_FOUND', () => ({ kind: 'vfio', address: '0000:ff:1f.7' })],
    [
      'a socket that nobody serves',
      'FILE_INVALID',
      () => ({ kind: 'vhost-user', type: 'blk', socket: disk('no socket') }),
    ],
    ['no device at all', 'INVALID_ARGUMENT', () => ({ kind: 'toaster' }) as unknown as DeviceSpec],
  ];

  it.each(wrong)('%s is %s, and the VM is as it was', async (what, code, spec) => {
    if (what === 'a vsock without vhost-vsock' && existsSync('/dev/vhost-vsock')) return;
    const before = await ids();
    expect(await codeOf(vm.attachDevice(spec()))).toBe(code);
    expect(await ids()).toEqual(before);
    expect(await disks()).toBe('vda');
    await vm.check();
  });

  it('a device that it has not can not be detached', async () => {
    expect(await codeOf(vm.detachDevice('none'))).toBe('INVALID_ARGUMENT');
  });

  it('a disk that another VM writes to is BUSY', async () => {
    const image = disk('locked');
    const holder = spawn('qemu-storage-daemon', [
      ...['--blockdev', `driver=file,node-name=disk,filename=${image}`],
      ...[
        '--export',
        `type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=${file('l.sock')},writable=on`,
      ],
      ...['--pidfile', file('locked.pid')],
    ]);
    try {
      await listening(holder, file('locked.pid'));
      expect(await codeOf(vm.attachDevice({ kind: 'block', path: image }))).toBe('BUSY');
    } finally {
      holder.kill();
      await once(holder, 'exit');
      rmSync(file('l.sock'), { force: true });
    }
    if (root) expect(await seen(image)).toBe(false);
    await vm.attachDevice({ kind: 'block', id: 'unlocked', path: image });
    await vm.detachDevice('unlocked');
  });

  it('a VM with a disk that its guest may write is not saved', async () => {
    const error = await failure(vm.snapshot(file('saved')));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.rawMessage).toContain('first');
    expect(existsSync(file('saved'))).toBe(false);
  });
});

it('is full when every slot of its bridge is taken', async () => {
  const image = disk('many');
  const before = (await ids()).length;
  const added: string[] = [];
  const fill = async (): Promise<VmError> => {
    for (;;) {
      const id = `many${added.length}`;
      const refused = await vm.attachDevice({ kind: 'block', id, path: image, readOnly: true }).then(
        () => undefined,
        (error: unknown) => VmError.from(error),
      );
      if (refused !== undefined) return refused;
      added.push(id);
    }
  };
  const refusal = await fill();
  expect(refusal.code).toBe('BUSY');
  expect(refusal.rawMessage).toContain('no more bridge slots available');
  expect((await sh('ls /sys/block')).split('\n').filter((name) => name.startsWith('vd'))).toHaveLength(
    added.length + 1,
  );
  // The root bus keeps two of the slots: the controller of disks and that of ports, which were made for the first of each.
  expect(before + added.length).toBeGreaterThanOrEqual(28);
  await vm.detachDevice('many7');
  await vm.attachDevice({ kind: 'block', id: 'again', path: image, readOnly: true });
});

it('names the shared folder whose daemon has ended', async () => {
  const daemons = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes('virtiofsd') && line.includes(file('share')) && line.includes('--socket-path'));
  for (const line of daemons) process.kill(Number.parseInt(line, 10), 'SIGKILL');
  const error = await failure(vm.check());
  expect(error.code).toBe('VMM_FAILED');
  expect(error.rawMessage).toContain('work');
});

/** Resolves when a program has written its pid down, which it does when it serves. */
async function listening(program: ChildProcess, pidFile: string): Promise<void> {
  const ended = once(program, 'exit').then(([code]: unknown[]) => {
    throw new Error(`the server ended with ${String(code)}`);
  });
  ended.catch(() => undefined);
  const written = (async () => {
    while (!existsSync(pidFile)) await new Promise((resolve) => setTimeout(resolve, 10));
  })();
  await Promise.race([written, ended]);
  rmSync(pidFile, { force: true });
}
