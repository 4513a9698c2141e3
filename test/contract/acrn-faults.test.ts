import { existsSync, readdirSync, readFileSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { failure } from '../fakes/failure.ts';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { findAcrnDm, probe } from '../../src/hypervisors/acrn/probe.ts';
import type { BlockDevice } from '../../src/hypervisors/device.ts';
import { vmFiles, vmmFiles } from '../../src/state/paths.ts';
import { until } from '../fakes/child.ts';
import { playedAcrn } from '../fakes/acrn/host.ts';
import { type AcrnFault, acrnFaults } from '../fakes/acrn/program.ts';
import { scratch } from '../fakes/programs.ts';
import { type Machine, withAcrn } from '../rigs/acrn-machine.ts';

const played = playedAcrn();
const at = scratch();

const withVm = (use: (machine: Machine) => Promise<void>, change: VmConfigInput = {}, fault?: AcrnFault) =>
  withAcrn({ ...played.guest(fault), vcpus: 1, memoryMiB: 256, ...change }, use, played.host());

/** A VM that runs. */
const withRunning = (use: (machine: Machine) => Promise<void>, fault?: AcrnFault) =>
  withVm(
    async (machine) => {
      await machine.hypervisor.create();
      await machine.hypervisor.start();
      await use(machine);
    },
    {},
    fault,
  );

const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
  const file = at.write(`${id}.img`, '');
  truncateSync(file, 2 ** 20);
  return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
};

const sockets = (): string[] => readdirSync(played.host().sockets);

describe('what an ACRN guest cannot be', () => {
  const params = (value: string) => ({ hypervisorParams: [{ key: 'cpu_affinity', value }] });
  it.each<[what: string, change: VmConfigInput, code: string, words: RegExp]>([
    ['a CPU that the host does not have', params('1'), 'INVALID_CONFIG', /LAPIC id 1/],
    ['a CPU twice', { ...params('2,2'), vcpus: 2 }, 'INVALID_CONFIG', /twice/],
    ['fewer CPUs than vCPUs', { ...params('2'), vcpus: 2 }, 'INVALID_CONFIG', /for 2 vCPUs/],
    ['more vCPUs than acrn-dm has', { vcpus: 17, maxVcpus: 17 }, 'INVALID_CONFIG', /acrn/],
    ['more vCPUs than the host has CPUs', { vcpus: 5 }, 'INVALID_CONFIG', /maxVcpus/],
    ['half a huge page', { memoryMiB: 257 }, 'INVALID_CONFIG', /even/],
    ['less memory than acrn-dm takes', { memoryMiB: 126 }, 'INVALID_CONFIG', /128/],
    [
      'a kernel line that would be cut',
      { kernelParams: [{ key: 'long', value: 'x'.repeat(1024) }] },
      'INVALID_CONFIG',
      /1024/,
    ],
    [
      'an argument that the driver gives',
      { hypervisorParams: [{ key: 'cmd_monitor', value: '/tmp/mine' }] },
      'INVALID_CONFIG',
      /may not be given/,
    ],
  ])('%s', async (_, change, code, words) => {
    const error = await failure(withVm(({ hypervisor }) => hypervisor.create(), change));
    expect([error.code, error.rawMessage]).toEqual([code, expect.stringMatching(words)]);
  });

  it('an uncompressed kernel, which acrn-dm would enter in silence', () =>
    withVm(
      async ({ hypervisor }) =>
        expect(await failure(hypervisor.create())).toMatchObject({ code: 'FILE_INVALID', facts: { field: 'kernel' } }),
      { kernel: played.file('vmlinux') },
    ));

  it('leaves no VM behind', async () => {
    const input = { hypervisor: 'acrn', ...played.guest(), vcpus: 1, memoryMiB: 257 } as const;
    expect((await failure(Vm.create(input))).code).toBe('INVALID_CONFIG');
    expect(await Vm.list()).toEqual([]);
  });
});

describe('disks that acrn-dm cannot have', () => {
  it.each<[what: string, change: () => Partial<BlockDevice>, code: string]>([
    ['one that is missing', () => ({ path: at.file('none.img') }), 'FILE_NOT_FOUND'],
    ['one of half a sector', () => ({ path: at.write('odd.img', 'x'.repeat(700)) }), 'FILE_INVALID'],
    ['one with a comma in its path', () => ({ path: at.write('a,b.img', '') }), 'INVALID_ARGUMENT'],
    ['one that is called no disk', () => ({ path: at.write('nodisk.img', '') }), 'INVALID_ARGUMENT'],
    [
      'a link to one with a comma',
      () => {
        symlinkSync(at.write('c,d.img', Buffer.alloc(512)), at.file('link'));
        return { path: at.file('link') };
      },
      'INVALID_ARGUMENT',
    ],
    ['one that is not raw', () => ({ format: 'qcow2' }), 'UNSUPPORTED'],
    ['one with a rate', () => ({ rateLimit: { bytesPerSecond: 1000 } }), 'UNSUPPORTED'],
  ])('%s', (_, change, code) =>
    withVm(async ({ hypervisor, context }) => {
      await hypervisor.create();
      expect((await failure(hypervisor.addDevice(disk('d', change())))).code).toBe(code);
      expect(existsSync(vmFiles.devices(context.stateFolder))).toBe(false);
    }),
  );

  it('a ninth that is swapped in, one that may not be written, and one that was there', () =>
    withRunning(async ({ hypervisor }) => {
      expect((await failure(hypervisor.hotplugAddDevice(disk('ro', { readOnly: true })))).code).toBe('UNSUPPORTED');
      for (let index = 0; index < 8; index++) await hypervisor.hotplugAddDevice(disk(`d${index}`));
      expect((await failure(hypervisor.hotplugAddDevice(disk('d0')))).code).toBe('INVALID_ARGUMENT');
      expect((await failure(hypervisor.hotplugAddDevice(disk('d8')))).code).toBe('INVALID_ARGUMENT');
      expect((await failure(hypervisor.hotplugRemoveDevice(disk('d0')))).code).toBe('UNSUPPORTED');
    }));
});

it('has room for ten disks, of which the empty ones are those that are left over', () =>
  withVm(async ({ hypervisor }) => {
    await hypervisor.create();
    for (let index = 0; index < 9; index++) await hypervisor.addDevice(disk(`c${index}`));
    await hypervisor.start();
    await hypervisor.hotplugAddDevice(disk('hot'));
    expect((await failure(hypervisor.hotplugAddDevice(disk('more')))).rawMessage).toMatch(/all 1 disks/);
  }));

it('refuses an eleventh disk at the start', () =>
  withVm(async ({ hypervisor }) => {
    await hypervisor.create();
    for (let index = 0; index < 10; index++) await hypervisor.addDevice(disk(`c${index}`));
    expect((await failure(hypervisor.addDevice(disk('more')))).code).toBe('INVALID_ARGUMENT');
    await hypervisor.start();
    expect((await failure(hypervisor.hotplugAddDevice(disk('hot')))).rawMessage).toMatch(/left no room/);
  }));

describe('huge pages', () => {
  const counter = (): string => path.join(played.host().hugePages.counters, 'nr_hugepages');
  beforeAll(() => played.setPages(10, 0));
  afterAll(() => played.setPages(1024, 1024));

  it('are reserved for a guest, and given back', () =>
    withRunning(async ({ hypervisor }) => {
      // 256 MiB, and 16 for the frame buffer.
      expect(readFileSync(counter(), 'utf8')).toBe('146');
      played.setPages(146, 136);
      await hypervisor.stop();
      expect(readFileSync(counter(), 'utf8')).toBe('10');
    }));

  it('of which the host can make no more refuse the start', async () => {
    // A counter that stays at nothing, whatever is written to it.
    played.setPages(0, 0);
    unlinkSync(counter());
    symlinkSync('/dev/null', counter());
    try {
      await withVm(async ({ hypervisor, context }) => {
        await hypervisor.create();
        expect(await failure(hypervisor.start())).toMatchObject({
          code: 'HOST_MISSING',
          facts: { field: 'memoryMiB' },
        });
        expect(existsSync(vmFiles.hugePages(context.stateFolder))).toBe(false);
        expect(await hypervisor.pids()).toEqual([]);
      });
    } finally {
      unlinkSync(counter());
      writeFileSync(counter(), '0\n');
    }
  });
});

describe('an acrn-dm that goes wrong at its start', () => {
  it.each<[AcrnFault, code: string, words: RegExp]>([
    ['CREATE_VM', 'START_FAILED', /failed to create VM/],
    ['START_VM', 'START_FAILED', /refused to start the guest/],
    ['iasl', 'HOST_MISSING', /iasl/],
  ])('by %s', (fault, code, words) =>
    withVm(
      async ({ hypervisor }) => {
        await hypervisor.create();
        const error = await failure(hypervisor.start());
        expect([error.code, error.rawMessage]).toEqual([code, expect.stringMatching(words)]);
        expect(error.advice).not.toBe('');
        expect(await hypervisor.pids()).toEqual([]);
        await hypervisor.cleanup();
        expect(sockets()).toEqual([]);
      },
      {},
      fault,
    ),
  );

  it('since it is killed', () =>
    withVm(async ({ hypervisor }) => {
      await hypervisor.create();
      const failed = failure(hypervisor.start());
      await until('it has a process', () => hypervisor.process() !== undefined);
      process.kill(hypervisor.process()?.pid ?? 0, 'SIGKILL');
      expect(await failed).toMatchObject({ code: 'START_FAILED', facts: { signal: 'SIGKILL' } });
    }));

  it('since another VM has its name; a socket that one left is no VM', () =>
    withVm(async ({ hypervisor, context }) => {
      const socket = path.join(played.host().sockets, `v${context.id}.monitor.1.socket`);
      const other = net.createServer().listen(socket);
      await once(other, 'listening');
      expect((await failure(hypervisor.create())).code).toBe('BUSY');
      other.close();
      writeFileSync(socket, '');
      await hypervisor.create();
      expect(sockets()).toEqual([]);
    }));
});

describe('a monitor that goes wrong', () => {
  it.each<[AcrnFault, code: string, unsure: boolean]>([
    ['monitor-silence', 'TIMEOUT', true],
    ['monitor-refuses', 'VMM_FAILED', false],
    ['monitor-closes', 'VMM_GONE', true],
    ['monitor-babbles', 'VMM_FAILED', true],
  ])('by %s', (fault, code, unsure) =>
    withRunning(async ({ hypervisor, context }) => {
      const error = await failure(hypervisor.hotplugAddDevice(disk('late'), { timeoutMs: 500 }));
      expect(error.code).toBe(code);
      // What acrn-dm may have done, or may yet do, is written down.
      expect(existsSync(vmFiles.devices(context.stateFolder))).toBe(unsure);
      if (unsure) expect((await failure(hypervisor.hotplugAddDevice(disk('late')))).code).toBe('INVALID_ARGUMENT');
      await hypervisor.check();
    }, fault),
  );

  it('by another client, who holds it: what was asked for meanwhile may come, and the next disk has a place of its own', () =>
    withRunning(async ({ hypervisor, context }) => {
      const other = net.connect(vmmFiles.monitorSocket(context.runtimeFolder));
      await once(other, 'connect');
      other.write('{"command":"register_vm_event_client","arguments":""}');
      expect((await failure(hypervisor.hotplugAddDevice(disk('late'), { timeoutMs: 500 }))).code).toBe('TIMEOUT');
      other.destroy();
      await once(other, 'close');
      expect(await hypervisor.hotplugAddDevice(disk('later'))).toEqual({ guestPath: '0000:00:18.0' });
    }));
});

it('clears what a killed acrn-dm has left', () =>
  withRunning(async ({ hypervisor }) => {
    expect(sockets()).toHaveLength(1);
    process.kill(hypervisor.process()?.pid ?? 0, 'SIGKILL');
    await hypervisor.wait();
    expect(sockets()).toHaveLength(1);
    expect((await failure(hypervisor.check())).code).toBe('VMM_GONE');
    await hypervisor.stop();
    expect(sockets()).toEqual([]);
  }));

describe('doctor', () => {
  const withPath = async (PATH: string, use: () => Promise<void>): Promise<void> => {
    const before = process.env['PATH'];
    process.env['PATH'] = PATH;
    try {
      await use();
    } finally {
      process.env['PATH'] = before;
    }
  };
  const problems = async (): Promise<string> => {
    const { usable, findings } = await probe(await readHostFacts(), played.file('acrn-dm'));
    expect(usable).toBe(false);
    return findings.map(({ problem }) => problem).join('\n');
  };

  it('says that the host is none of ACRN, and that iasl is missing, or too old', async () => {
    await withPath(at.folder, async () => {
      expect(await problems()).toMatch(/no \/dev\/acrn_hsm[^]*iasl is not on the PATH/);
      at.script('iasl', 'echo "ASL+ Optimizing Compiler/Disassembler version 20180105"');
      expect(await problems()).toMatch(/is of 20180105; acrn-dm wants 20190703/);
    });
  });

  it.each([
    [
      'DM: 3.4-unstable-2025-09-05-12:31:42-d61d98cf8-dirty build by root@2026',
      '3.4-unstable-2025-09-05-12:31:42-d61d98cf8-dirty',
    ],
    ['DM: 3.3-2024-04-01-00:00:00-abc (tag: v3.3) build by root@2026', '3.3-2024-04-01-00:00:00-abc'],
    // The device model alone was built.
    ['DM: -2025-09-05-12:31:42-d61d98cf8 build by root@2026', '2025-09-05-12:31:42-d61d98cf8'],
  ])('reads the version in %s', async (line, version) => {
    const program = at.script('acrn-dm', `echo '${line}'`);
    expect(await findAcrnDm(await readHostFacts(), program)).toMatchObject({ usable: true, version });
  });
});

it('there is a test of every fault that is played', () => {
  const text = readFileSync(new URL(import.meta.url), 'utf8');
  expect(acrnFaults.filter((fault) => !text.includes(`['${fault}'`))).toEqual([]);
});
