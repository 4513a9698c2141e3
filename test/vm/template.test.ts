import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTemplate } from '../../src/factory/template-manifest.ts';
import { TemplateStore } from '../../src/factory/template-store.ts';
import { listTemplates, type Template } from '../../src/sandbox/template.ts';
import type { ExecOptions } from '../../src/guest/agent.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places, runtimeFolder, vmmFiles } from '../../src/state/paths.ts';
import { connectQmp } from '../../src/transports/qmp/client.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest } from './guest.ts';

const read = async (vm: Vm, command: string): Promise<string> =>
  (await vm.exec(command, { check: true })).stdout.trim();

/** KiB of a VM's memory that it has for itself, and that it shares, by /proc/PID/smaps: of the mapping of the template's file. */
async function mapping(vm: Vm, file: string): Promise<{ own: number; rss: number }> {
  const { pid } = await vm.inspect();
  const smaps = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const sums = { own: 0, rss: 0 };
  for (const part of smaps.filter((it) => it.split('\n')[0]?.endsWith(file) === true)) {
    sums.own += Number(/^Private_Dirty:\s+(\d+)/m.exec(part)?.[1]);
    sums.rss += Number(/^Rss:\s+(\d+)/m.exec(part)?.[1]);
  }
  return sums;
}

/** The machine's generation id, as QEMU has written it into the guest's memory. */
async function generation(vm: Vm): Promise<string> {
  const { id } = await vm.inspect();
  const qmp = await connectQmp(vmmFiles.qmpSocket(runtimeFolder(places(), id)));
  try {
    return (await qmp.execute<{ guid: string }>('query-vm-generation-id')).guid;
  } finally {
    await qmp.close();
  }
}

describe('a template of a real guest', () => {
  let template: Template<Vm>;
  keepsAcrossTests('file', /templates/);

  beforeAll(async () => {
    template = await Vm.template({
      ...smallGuest,
      maxVcpus: 2,
      memorySlots: 2,
      setup: async (guest) => void (await guest.exec('mkdir /srv && echo done >/srv/set-up', { check: true })),
    });
  });
  afterAll(async () => {
    await template.remove();
  });

  it('has clones that are machines of their own, before their first command', async () => {
    const clones = await Promise.all([template.clone({ name: 'one' }), template.clone({ name: 'two' })]);
    try {
      const [one, two] = clones;
      for (const clone of clones) {
        // Once at the template's boot, once as a clone: the reseed itself, since two draws that differ prove nothing.
        expect((await clone.agent.info()).reseeds).toBe(2);
        expect(await read(clone, 'cat /srv/set-up')).toBe('done');
        expect(await read(clone, 'hostname')).toBe(clone.name);
        expect(await read(clone, 'cat /etc/machine-id')).toMatch(/^[0-9a-f]{32}$/);
        expect(Math.abs(Number(await read(clone, 'date +%s')) - Date.now() / 1000)).toBeLessThan(3);
      }
      expect(await read(one, 'cat /etc/machine-id')).not.toBe(await read(two, 'cat /etc/machine-id'));
      expect(one.agent.bootId).toBe(two.agent.bootId);
      // A kernel with a driver for it would have reseeded by that alone.
      const [first, second] = [await generation(one), await generation(two)];
      expect(first).toMatch(/^[0-9a-f-]{36}$/);
      expect(first).not.toBe(second);

      // This one has none, and is not told: what it would do with the news is a good part of a clone's start.
      expect(await read(one, 'cat /sys/firmware/acpi/interrupts/gpe05')).toMatch(/^0\s.*disabled/);

      // A user that its file of users gets now is known, and so is a change of it.
      const user = async (): Promise<string> => (await one.exec(['id', '-u'], { user: 'late' })).stdout.trim();
      await one.exec("echo 'late:x:33:33::/:/bin/sh' >>/etc/passwd", { check: true });
      expect(await user()).toBe('33');
      await one.exec("sed -i 's/late:x:33/late:x:34/' /etc/passwd", { check: true });
      expect(await user()).toBe('34');

      // What one writes no other sees, nor one that comes later.
      await one.exec('echo secret >/srv/mine; echo changed >/srv/set-up', { check: true });
      expect(await read(two, 'ls /srv; cat /srv/set-up')).toBe('set-up\ndone');
      const third = await template.clone();
      expect(await read(third, 'ls /srv; cat /srv/set-up')).toBe('set-up\ndone');
      await third.remove();

      // Most of what they have touched is the template's own pages still.
      const file = path.join(template.info.folder, 'memory');
      const { own, rss } = await mapping(one, file);
      expect(rss).toBeGreaterThan(0);
      expect(own).toBeLessThan(rss);
    } finally {
      for (const clone of clones) await clone.remove();
    }
  });

  it('has clones whose first command has half of its way behind it, whatever it is', async () => {
    const waiting = 'ps -o comm,args | grep -c "^[i]nit"';
    const first = async (command: string[], options: ExecOptions = {}): Promise<string> => {
      const clone = await template.clone();
      try {
        const { exitCode, stdout, stderr } = await clone.exec(command, options);
        // Used or not, it is there no more.
        expect(await read(clone, waiting)).toBe('1');
        return `${exitCode} ${stdout}${stderr}`.trim();
      } finally {
        await clone.remove();
      }
    };
    expect(await first(['sh', '-c', 'echo out; pwd; echo $A; cat; exit 3'], { env: { A: 'b' } })).toBe(
      '3 out\n/root\nb',
    );
    expect(await first(['cat'], { stdin: 'given' })).toBe('0 given');
    // Its process is as old as the template, which stood quiet for a while before it was saved.
    const age = await first(['sh', '-c', 'cut -d " " -f 1 /proc/uptime; cut -d " " -f 22 /proc/$$/stat']);
    const [, uptime = 0, started = 0] = age.split(/\s/).map(Number);
    expect(uptime - started / 100).toBeGreaterThan(0.25);
    expect(await first(['id', '-un'], { user: 'nobody' })).toBe('0 nobody');
    expect(await first(['sh', '-c', 'ulimit -n; cat /proc/self/cgroup; ls /proc/self/fd'], { cwd: '/tmp' })).toMatch(
      /^0 1024\n0::\/polyvisor\/\d+\n0\n1\n2\n3$/,
    );
    await expect(first(['no-such-program'])).rejects.toMatchObject({ code: 'GUEST_NOT_FOUND' });
    await expect(first(['true'], { cwd: '/nowhere' })).rejects.toMatchObject({ code: 'EXEC_FAILED' });
  });

  it('makes up for more vCPUs and memory by hot-plug, and refuses every other difference by its name', async () => {
    const clone = await template.clone({ vcpus: 2, memoryMiB: 384 });
    try {
      expect(await read(clone, 'nproc')).toBe('2');
      expect(await clone.inspect()).toMatchObject({ vcpus: 2, memoryMiB: 384 });
    } finally {
      await clone.remove();
    }
    const error = await failure(template.clone({ memoryMiB: 128, machineType: 'pc', cpuModel: 'qemu64' }));
    expect(error.code).toBe('INVALID_CONFIG');
    for (const field of ['memoryMiB', 'machineType', 'cpuModel']) expect(error.message).toContain(field);
  });

  it('a clone is saved, restored and started anew like any other VM', async () => {
    const scratch = mkdtempSync(path.join(tmpdir(), 'polyvisor-clone-'));
    const clone = await template.clone();
    try {
      await clone.exec('echo kept >/srv/kept', { check: true });
      await clone.snapshot(path.join(scratch, 'saved'));
      const restored = await Vm.restore(path.join(scratch, 'saved'));
      expect(await read(restored, 'cat /srv/kept; hostname')).toBe(`kept\n${restored.name}`);
      await restored.remove();
      await clone.stop({ force: true });
      await clone.start();
      // It has booted: nothing of the template is in its memory.
      expect(await read(clone, 'ls /srv 2>/dev/null | wc -l')).toBe('0');
    } finally {
      await clone.remove();
      rmSync(scratch, { recursive: true });
    }
  });

  it('its clones go on when it is removed, and others are refused', async () => {
    const other = await Vm.template({ ...smallGuest, name: 'other', memory: 'disk' });
    expect(other.info.memory).toBe('disk');
    const clone = await other.clone();
    try {
      await other.remove();
      expect(existsSync(other.info.folder)).toBe(false);
      expect(await read(clone, 'find / -xdev -name busybox | wc -l')).not.toBe('0');
      expect(await codeOf(other.clone())).toBe('NOT_FOUND');
    } finally {
      await clone.remove();
    }
  });

  it('one that is cut, changed, of another QEMU or without its memory is refused, and no VM is left', async () => {
    const store = new TemplateStore();
    const manifest = await store.read(template.name);
    const memory = path.join(template.info.folder, 'memory');
    const refused = async (code: string): Promise<void> => {
      expect(await codeOf(template.clone())).toBe(code);
      expect(await listTemplates()).toMatchObject([{ state: 'broken' }]);
    };
    const copy = mkdtempSync(path.join(tmpdir(), 'polyvisor-memory-'));
    execFileSync('cp', ['--sparse=always', '--preserve=all', memory, path.join(copy, 'memory')]);
    const again = (): unknown =>
      execFileSync('cp', ['--sparse=always', '--preserve=all', path.join(copy, 'memory'), memory]);
    try {
      truncateSync(memory, 4096);
      await refused('FILE_INVALID');
      again();
      writeFileSync(memory, 'x', { flag: 'r+' });
      await refused('FILE_INVALID');
      again();
      const state = path.join(template.info.folder, 'state');
      const saved = readFileSync(state);
      writeFileSync(
        state,
        saved.map((byte, at) => (at === saved.length >> 1 ? byte ^ 1 : byte)),
      );
      await refused('FILE_INVALID');
      writeFileSync(state, saved);
      await writeTemplate(store.folder(template.name), { ...manifest, vmmVersion: '5.2.0' }, places());
      expect((await failure(template.clone())).message).toContain('qemu 5.2.0, and this host has');
      await writeTemplate(store.folder(template.name), manifest, places());
      rmSync(memory);
      await refused('FILE_NOT_FOUND');
      expect(await Vm.list()).toEqual([]);
    } finally {
      again();
      rmSync(copy, { recursive: true });
    }
    const clone = await template.clone();
    await clone.remove();
  });
});

it.each([{ fileBackedMemRootDir: '/dev/shm' }, {}])(
  'a VM with %j is forked while it works, and goes on',
  async (memory) => {
    const card = { kind: 'net', id: 'card', mac: '52:54:00:12:34:56' } as const;
    const vm = await Vm.create({ ...smallGuest, ...memory, devices: [card] });
    try {
      const address = 'cat /sys/class/net/eth0/address';
      await vm.exec('ip link set eth0 up', { check: true });
      await vm.exec('echo before >/state', { check: true });
      const work = vm.exec('for i in 1 2 3 4 5 6; do usleep 100000; echo $i; done');
      let pauseMs = 0;
      const [one, two] = (await vm.fork(2, { onPause: (ms) => (pauseMs = ms) })) as [Vm, Vm];
      try {
        expect(pauseMs).toBeGreaterThan(0);
        await vm.exec('echo after >/state', { check: true });
        await one.exec('echo mine >/state', { check: true });
        expect(await read(two, 'cat /state')).toBe('before');
        expect(await read(two, 'hostname')).toBe(two.name);
        expect(await read(one, 'cat /etc/machine-id')).not.toBe(await read(two, 'cat /etc/machine-id'));
        expect((await one.agent.info()).reseeds).toBe(2);
        // Each has a card of its own, which is up as it was.
        const addresses = [await read(vm, address), await read(one, address), await read(two, address)];
        expect(addresses[0]).toBe(card.mac);
        expect(new Set(addresses).size).toBe(3);
        for (const mac of addresses) expect(Number.parseInt(mac.slice(0, 2), 16) & 3).toBe(2);
        expect((await one.inspect()).devices[0]?.device).toMatchObject({ id: 'card', mac: addresses[1] });
        expect(await read(one, 'cat /sys/class/net/eth0/flags')).toBe(await read(vm, 'cat /sys/class/net/eth0/flags'));
        // It shares what it has not written, or has all for itself.
        const shares = readFileSync(`/proc/${(await one.inspect()).pid}/maps`, 'utf8').includes('qemu.memory');
        expect(shares).toBe('fileBackedMemRootDir' in memory);
      } finally {
        await one.remove();
        await two.remove();
      }
      expect((await work).stdout).toBe('1\n2\n3\n4\n5\n6\n');
      expect(await read(vm, 'cat /state')).toBe('after');
    } finally {
      await vm.remove();
    }
  },
);

it('the fields of virtcontainers make and use a template by hand', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-by-hand-'));
  const files = { memoryPath: path.join(folder, 'memory'), devicesStatePath: path.join(folder, 'state') };
  try {
    const made = await Vm.create({ ...smallGuest, ...files, bootToBeTemplate: true });
    try {
      await made.exec('echo by hand >/root-of-template', { check: true });
      await made.snapshot(path.join(folder, 'saved'));
      expect((await made.inspect()).status).toBe('paused');
    } finally {
      await made.remove();
    }
    expect(await codeOf(Vm.create({ ...smallGuest, ...files, bootToBeTemplate: true }))).toBe('IO');
    const clone = await Vm.create({ ...smallGuest, ...files, bootFromTemplate: true });
    try {
      expect(await read(clone, 'cat /root-of-template')).toBe('by hand');
    } finally {
      await clone.remove();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
