import { once } from 'node:events';
import net from 'node:net';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import type { BlockDevice, Device } from '../../src/hypervisors/device.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { fakeCloudHypervisor } from '../fakes/cloud-hypervisor/program.ts';
import { failure } from '../fakes/failure.ts';
import { scratch } from '../fakes/programs.ts';
import { type PlayedMachine, withPlayed } from './played-machine.ts';

const at = scratch();
let serial = 0;

interface Played extends VmConfigInput {
  version?: string;
  fault?: string;
}

function guest({ version = '53.0', fault, ...input }: Played = {}): VmConfigInput {
  const program = path.join(at.folder, `cloud-hypervisor-${++serial}`);
  writeFileSync(program, fakeCloudHypervisor({ version, fault }), { mode: 0o755 });
  const files = { kernel: at.write('kernel', '\x7fELF'), initrd: at.write('initrd', 'initrd') };
  return { ...files, hypervisorPath: program, memoryMiB: 256, ...input };
}

const withCreated = (input: Played, use: (machine: PlayedMachine) => Promise<void>): Promise<void> =>
  withPlayed(cloudHypervisor, guest(input), async (machine) => {
    await machine.hypervisor.create();
    await use(machine);
  });

const withRunning = (input: Played, use: (machine: PlayedMachine) => Promise<void>): Promise<void> =>
  withCreated(input, async (machine) => {
    await machine.hypervisor.start();
    await use(machine);
  });

const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
  const file = at.write(`${id}.img`, '');
  truncateSync(file, 2 ** 20);
  return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
};

describe('a Cloud Hypervisor that goes wrong at its start', () => {
  it.each(['GET /api/v1/vmm.ping', 'PUT /api/v1/vm.create', 'PUT /api/v1/vm.boot'])('and dies at %s', (step) =>
    withCreated({ fault: `${step}:die` }, async ({ hypervisor }) => {
      const error = await failure(hypervisor.start());
      expect(error).toMatchObject({ code: 'START_FAILED', facts: { exitCode: 1 } });
      expect(error.rawMessage).toContain('told to die');
      expect(await hypervisor.pids()).toEqual([]);
    }),
  );

  it.each<[fault: string, code: string, words: RegExp]>([
    ['refuse', 'START_FAILED', /refused \(500\): Error from API: told to refuse/],
    ['busy', 'BUSY', /too many requests/],
    ['half', 'VMM_GONE', /ended|hang up|aborted/],
    ['not-json', 'START_FAILED', /not JSON/],
  ])('and answers with %s', (fault, code, words) =>
    withCreated({ fault: `PUT /api/v1/vm.create:${fault}` }, async ({ hypervisor }) => {
      const error = await failure(hypervisor.start({ timeoutMs: 20_000 }));
      expect([error.code, error.rawMessage]).toEqual([code, expect.stringMatching(words)]);
      expect(await hypervisor.pids()).toEqual([]);
    }),
  );

  it('and answers nothing', () =>
    withCreated({ fault: 'PUT /api/v1/vm.boot:silence' }, async ({ hypervisor }) => {
      expect((await failure(hypervisor.start({ timeoutMs: 3000 }))).code).toBe('TIMEOUT');
      expect(await hypervisor.pids()).toEqual([]);
    }));

  it('but not for a field of a later version', () =>
    withRunning({ fault: 'GET /api/v1/vmm.ping:unknown-field' }, ({ hypervisor }) => hypervisor.check()));
});

describe('a Cloud Hypervisor that goes wrong while it runs', () => {
  it.each<[fault: string, code: string]>([
    ['die', 'VMM_GONE'],
    ['refuse', 'VMM_FAILED'],
    ['half', 'VMM_GONE'],
    ['silence', 'TIMEOUT'],
  ])('by %s, asked to pause', (fault, code) =>
    withRunning({ fault: `PUT /api/v1/vm.pause:${fault}` }, async ({ hypervisor }) => {
      expect((await failure(hypervisor.pause({ timeoutMs: 1000 }))).code).toBe(code);
      const alive = fault !== 'die';
      expect(await hypervisor.pids()).toHaveLength(alive ? 1 : 0);
      const { code: checked } = await hypervisor.check().then(
        () => ({ code: 'well' }),
        (error: unknown) => error as { code: string },
      );
      expect(checked).toBe(alive ? 'well' : 'VMM_GONE');
    }),
  );

  it('and takes no disk: it may be given another time', () =>
    withRunning({ fault: 'PUT /api/v1/vm.add-disk:refuse' }, async ({ hypervisor, context }) => {
      const before = readdirSync(context.runtimeFolder);
      const error = await failure(hypervisor.hotplugAddDevice(disk('late')));
      expect([error.code, error.rawMessage]).toEqual(['VMM_FAILED', expect.stringContaining('told to refuse')]);
      expect(readdirSync(context.runtimeFolder)).toEqual(before);
      expect((await failure(hypervisor.hotplugRemoveDevice(disk('late')))).code).toBe('INVALID_ARGUMENT');
    }));

  it('and writes no snapshot: nothing of one is left', () =>
    withRunning({ fault: 'PUT /api/v1/vm.snapshot:refuse' }, async ({ hypervisor, context }) => {
      const [folder, before] = [at.file('snapshot'), readdirSync(context.runtimeFolder)];
      mkdirSync(folder);
      await hypervisor.pause();
      expect((await failure(hypervisor.save(folder))).code).toBe('VMM_FAILED');
      expect(readdirSync(folder)).toEqual([]);
      expect(readdirSync(context.runtimeFolder)).toEqual(before);
      await hypervisor.resume();
    }));
});

it("writes a template's devices over no file that is there", async () => {
  const files = { memoryPath: at.file('template-memory'), devicesStatePath: at.write('template-state', 'mine') };
  const folder = at.file('template');
  mkdirSync(folder);
  await withRunning({ bootToBeTemplate: true, ...files }, async ({ hypervisor }) => {
    await hypervisor.pause();
    expect((await failure(hypervisor.save(folder))).code).toBe('IO');
  });
  expect([readFileSync(files.devicesStatePath, 'utf8'), readdirSync(folder)]).toEqual(['mine', []]);
});

describe('what a guest of Cloud Hypervisor cannot be', () => {
  it.each<[what: string, change: VmConfigInput, code: string, words: RegExp]>([
    ['one without a vsock', { useVsock: false }, 'INVALID_CONFIG', /vsock/],
    ['one with 9p', { sharedFs: 'virtio-9p' }, 'INVALID_CONFIG', /9p/],
    ['one with half a huge page', { memoryMiB: 257, hugePages: true }, 'INVALID_CONFIG', /even/],
    ['one with more vCPUs than it may have', { vcpus: 3, maxVcpus: 2 }, 'INVALID_CONFIG', /maxVcpus/],
    ['one with disks on SCSI', { blockDeviceDriver: 'virtio-scsi' }, 'INVALID_CONFIG', /blockDeviceDriver/],
  ])('%s', async (_, change, code, words) => {
    const error = await failure(withPlayed(cloudHypervisor, guest(change), ({ hypervisor }) => hypervisor.create()));
    expect([error.code, error.rawMessage]).toEqual([code, expect.stringMatching(words)]);
  });

  it('one with an initrd and an image of its own, and no VM is left', async () => {
    const image = at.write('root.img', Buffer.alloc(4096));
    const error = await failure(Vm.create({ hypervisor: 'clh', ...guest({ image }) }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(await Vm.list()).toEqual([]);
  });

  it.each<[version: string, input: Played, device: Device | undefined, words: RegExp]>([
    ['27.0', {}, undefined, /oldest that works is 28.0/],
    ['41.0', { hypervisorParams: [{ key: '--landlock', value: '' }] }, undefined, /42\.0/],
    ['50.2', {}, { kind: 'block', id: 'd', path: '/dev/null', format: 'raw', readOnly: true }, /51\.0 can/],
  ])('one of %s: it is said which version has it', async (version, input, device, words) => {
    const error = await failure(
      withCreated({ version, ...input }, async ({ hypervisor }) => {
        if (device !== undefined) await hypervisor.addDevice(device);
      }),
    );
    expect([error.rawMessage, error.code]).toEqual([
      expect.stringMatching(words),
      expect.stringMatching(/^(HYPERVISOR_TOO_OLD|HYPERVISOR_NOT_FOUND|UNSUPPORTED)$/),
    ]);
  });

  it.each(['v53.0', '53.0', 'v53.0.0', 'v53.0-dirty', 'v54.0-12-gabcdef0'])('says its version as %s', async (text) => {
    const program = at.script('cloud-hypervisor', `echo 'cloud-hypervisor ${text}'`);
    const { version, usable } = await cloudHypervisor.probe(await readHostFacts(), program);
    expect([version, usable]).toEqual([text.replace('v', ''), true]);
  });
});

it('plugs a disk that another process serves, of which Cloud Hypervisor tells nothing', () =>
  withRunning({ virtioFsDaemon: '/bin/true', sharedFs: 'virtio-fs' }, async ({ hypervisor }) => {
    const socket = at.file('served.sock');
    const server = net.createServer().listen(socket);
    await once(server, 'listening');
    const device = { kind: 'vhost-user', id: 'served', type: 'blk', socket } as const;
    expect(await hypervisor.hotplugAddDevice(device)).toMatchObject({ guestPath: '0000:00:08.0' });
    await hypervisor.hotplugRemoveDevice(device);
    server.close();
  }));

describe('devices that cannot be', () => {
  it.each<[what: string, device: () => Device, code: string]>([
    ['a tap that is missing', () => ({ kind: 'net', id: 'n', tap: 'none' }), 'INVALID_ARGUMENT'],
    [
      'a folder, without its daemon',
      () => ({ kind: 'fs', id: 'f', path: at.folder, tag: 't', readOnly: false }),
      'INVALID_CONFIG',
    ],
    ['a disk that is missing', () => disk('d', { path: at.file('none') }), 'FILE_NOT_FOUND'],
    ['a serial port', () => ({ kind: 'serial-port', id: 'p', name: 'port' }), 'UNSUPPORTED'],
    ['a second vsock', () => ({ kind: 'hybrid-vsock', id: 'v' }), 'UNSUPPORTED'],
  ])('%s', (_, device, code) =>
    withRunning({}, async ({ hypervisor }) =>
      expect((await failure(hypervisor.hotplugAddDevice(device()))).code).toBe(code),
    ),
  );

  it('a disk in the folder of the VMM, and two of one name', () =>
    withCreated({}, async ({ hypervisor, context }) => {
      const inside = path.join(context.runtimeFolder, 'mine.img');
      writeFileSync(inside, 'x');
      expect((await failure(hypervisor.addDevice(disk('d', { path: inside })))).code).toBe('INVALID_ARGUMENT');
      rmSync(inside);
      await hypervisor.addDevice(disk('a'));
      expect((await failure(hypervisor.addDevice(disk('a')))).code).toBe('INVALID_ARGUMENT');
    }));

  it('less memory than was plugged by ACPI', () =>
    withRunning({}, async ({ hypervisor }) => {
      await hypervisor.resizeMemory(384, 128, false);
      expect((await failure(hypervisor.resizeMemory(256, 128, false))).code).toBe('INVALID_ARGUMENT');
    }));
});

describe('memory of a snapshot', () => {
  const device = '/dev/userfaultfd';
  const isOurs = ((): boolean => {
    try {
      closeSync(openSync(device, 'r+'));
      return true;
    } catch {
      return false;
    }
  })();

  it.each<[what: string, input: Played, growable: boolean, comes: string]>([
    ['is mapped', { version: '52.0' }, false, 'mapped'],
    ['is mapped by an older version, too', { version: '51.1' }, false, 'mapped'],
    ['is read when it is used, by a version that can, if it is to grow', { version: '52.0' }, true, 'on demand'],
    ['is read at once by an older one, if it is to grow', { version: '51.1' }, true, 'at once'],
    ['is read at once where other processes map it', { sharedFs: 'virtio-fs', virtioFsDaemon: '/bin/true' }, false, ''],
    ['is read where a virtio-mem device has a part of it', { version: '51.1', virtioMem: true }, false, 'at once'],
  ])('%s', async (_, input, growable, comes) => {
    const folder = at.file('snapshot');
    mkdirSync(folder);
    await withRunning(input, async ({ hypervisor }) => {
      await hypervisor.pause();
      await hypervisor.save(folder);
    });
    await withCreated(input, async ({ hypervisor, context }) => {
      await hypervisor.restore(folder, { growable });
      const opened = `/proc/${hypervisor.process()?.pid}/fd`;
      const files = readdirSync(opened).map((fd) => readlinkSync(path.join(opened, fd)));
      expect(files.includes(device)).toBe(comes === 'on demand' && isOurs);
      await hypervisor.resume();
      const grown = hypervisor.resizeMemory(context.config.memoryMiB + 128, 128, false);
      if (comes === 'mapped') await expect(grown).rejects.toMatchObject({ code: 'UNSUPPORTED' });
      else expect(await grown).toMatchObject({ memoryMiB: context.config.memoryMiB + 128 });
      // And once more, of what was restored.
      const again = at.file('again');
      mkdirSync(again);
      await hypervisor.pause();
      await hypervisor.save(again);
    });
    await withCreated(input, async ({ hypervisor, context }) => {
      expect(await hypervisor.restore(at.file('again'), { growable: true })).toBe('paused');
      await hypervisor.resume();
      const memoryMiB = context.config.memoryMiB + 128;
      expect(await hypervisor.resizeMemory(memoryMiB, 128, false)).toMatchObject({ memoryMiB });
    });
  });
});

describe('snapshots that cannot be restored', () => {
  it.each<[what: string, spoil: (folder: string) => void, input: Played, code: string]>([
    ['a missing memory file', (folder) => rmSync(path.join(folder, 'memory-ranges')), {}, 'FILE_NOT_FOUND'],
    ['a cut one', (folder) => truncateSync(path.join(folder, 'memory-ranges'), 4096), {}, 'FILE_INVALID'],
    [
      "another VMM's",
      (folder) => {
        rmSync(path.join(folder, 'cloud-hypervisor.json'));
        writeFileSync(path.join(folder, 'firecracker.json'), '{"schema":1}');
      },
      {},
      'FILE_NOT_FOUND',
    ],
    ['no machine', (folder) => writeFileSync(path.join(folder, 'cloud-hypervisor.json'), '{'), {}, 'STATE_INVALID'],
    ["a newer version's", () => undefined, { version: '52.0' }, 'HYPERVISOR_TOO_OLD'],
    ['a broken configuration', (folder) => writeFileSync(path.join(folder, 'config.json'), '{'), {}, 'FILE_INVALID'],
    ['one that it refuses', () => undefined, { fault: 'PUT /api/v1/vm.restore:refuse' }, 'START_FAILED'],
    ['one at which it dies', () => undefined, { fault: 'PUT /api/v1/vm.restore:die' }, 'START_FAILED'],
  ])('%s', async (_, spoil, input, code) => {
    const folder = at.file('snapshot');
    mkdirSync(folder);
    await withRunning({}, async ({ hypervisor }) => {
      await hypervisor.pause();
      await hypervisor.save(folder);
    });
    spoil(folder);
    await withCreated(input, async ({ hypervisor, context }) => {
      expect((await failure(hypervisor.restore(folder))).code).toBe(code);
      expect(await hypervisor.pids()).toEqual([]);
      expect(readdirSync(context.runtimeFolder)).not.toContain('snapshot');
    });
  });
});
