import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { failure } from '../fakes/failure.ts';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import type { BlockDevice, Device } from '../../src/hypervisors/device.ts';
import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { clearJail } from '../../src/hypervisors/firecracker/control-jail.ts';
import { savedFiles } from '../../src/hypervisors/firecracker/state-saved.ts';
import { fakeFirecracker } from '../fakes/firecracker/program.ts';
import { scratch } from '../fakes/programs.ts';
import { type PlayedMachine, withPlayed } from './played-machine.ts';

const at = scratch();
let serial = 0;

/** A VM of a played Firecracker, which goes wrong as it is told. */
async function withMachine(
  { version = '1.17.0', fault, ...input }: VmConfigInput & { version?: string; fault?: string },
  use: (machine: PlayedMachine) => Promise<void>,
): Promise<void> {
  const program = path.join(at.folder, `firecracker-${version}-${++serial}`);
  writeFileSync(program, fakeFirecracker({ version, fault }), { mode: 0o755 });
  const files = { kernel: at.write('kernel', '\x7fELF'), initrd: at.write('initrd', 'initrd') };
  await withPlayed(firecracker, { ...files, hypervisorPath: program, memoryMiB: 256, ...input }, use);
}

const disk = (id: string, change: Partial<BlockDevice> = {}): BlockDevice => {
  const file = at.write(`${id}.img`, '');
  truncateSync(file, 2 ** 20);
  return { kind: 'block', id, path: file, format: 'raw', readOnly: false, ...change };
};

const steps = [
  'PUT /logger',
  'PUT /metrics',
  'PUT /serial',
  'PUT /machine-config',
  'PUT /boot-source',
  'PUT /drives/pool7',
  'PUT /vsock',
  'PUT /entropy',
  'PUT /actions',
];

describe('a Firecracker that goes wrong at its start', () => {
  it.each(steps)('and dies at %s', (step) =>
    withMachine({ fault: `${step}:die` }, async ({ hypervisor }) => {
      await hypervisor.create();
      const error = await failure(hypervisor.start());
      expect(error).toMatchObject({ code: 'START_FAILED', facts: { exitCode: 1 } });
      expect(error.rawMessage).toContain('told to die');
      expect(await hypervisor.pids()).toEqual([]);
    }),
  );

  it.each<[fault: string, code: string, words: RegExp]>([
    ['refuse', 'START_FAILED', /refused \(400\): told to refuse/],
    ['busy', 'BUSY', /too many requests/],
    ['half', 'START_FAILED', /ended|hang up|aborted/],
    ['not-json', 'START_FAILED', /not JSON/],
  ])('and answers with %s', (fault, code, words) =>
    withMachine({ fault: `PUT /vsock:${fault}` }, async ({ hypervisor }) => {
      await hypervisor.create();
      const error = await failure(hypervisor.start({ timeoutMs: 20_000 }));
      expect([error.code, error.rawMessage]).toEqual([
        expect.stringMatching(new RegExp(`${code}|VMM_GONE`)),
        expect.stringMatching(words),
      ]);
      expect(await hypervisor.pids()).toEqual([]);
    }),
  );

  it('and answers nothing', () =>
    withMachine({ fault: 'PUT /vsock:silence' }, async ({ hypervisor }) => {
      await hypervisor.create();
      expect((await failure(hypervisor.start({ timeoutMs: 3000 }))).code).toBe('TIMEOUT');
      expect(await hypervisor.pids()).toEqual([]);
    }));

  it('but not for a field of a later version', () =>
    withMachine({ fault: 'GET /:unknown-field' }, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      await hypervisor.check();
    }));

  it('is told why it was not even tried: a compressed kernel', () =>
    withMachine({ version: '1.16.1', kernel: at.write('bzImage', 'MZ') }, async ({ hypervisor }) => {
      expect(await failure(hypervisor.create())).toMatchObject({ code: 'FILE_INVALID', facts: { field: 'kernel' } });
    }));
});

describe('a Firecracker that goes wrong while it runs', () => {
  it.each<[fault: string, code: string]>([
    ['die', 'VMM_GONE'],
    ['refuse', 'VMM_FAILED'],
    ['half', 'VMM_GONE'],
    ['silence', 'TIMEOUT'],
  ])('by %s, asked to pause', (fault, code) =>
    withMachine({ fault: `PATCH /vm:${fault}` }, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      expect((await failure(hypervisor.pause({ timeoutMs: 1000 }))).code).toBe(code);
      expect(await hypervisor.pids()).toHaveLength(fault === 'die' ? 0 : 1);
    }),
  );

  it('and writes no snapshot: nothing of one is left', () =>
    withMachine({ fault: 'PUT /snapshot/create:refuse' }, async ({ hypervisor, context }) => {
      await hypervisor.create();
      await hypervisor.start();
      const [folder, before] = [at.file('snapshot'), readdirSync(context.runtimeFolder)];
      mkdirSync(folder);
      await hypervisor.pause();
      expect((await failure(hypervisor.save(folder))).code).toBe('VMM_FAILED');
      expect(readdirSync(folder)).toEqual([]);
      expect(readdirSync(context.runtimeFolder)).toEqual(before);
      await hypervisor.resume();
    }));
});

it.each([
  ['Firecracker v1.16.1', '1.16.1'],
  ['Firecracker v1.14.0\n\nSupported snapshot data format versions: v8.0.0', '1.14.0'],
  ['Firecracker v1.17.0-dev', '1.17.0-dev'],
])('says its version as %j', async (text, version) => {
  const program = at.script('firecracker', `printf '%s\\n' '${text}'`);
  expect(await firecracker.probe(await readHostFacts(), program)).toMatchObject({ usable: true, version });
});

it('a release that is too old says which one is not', async () => {
  const program = at.script('firecracker', "echo 'Firecracker v1.13.1'");
  const { usable, findings } = await firecracker.probe(await readHostFacts(), program);
  expect([usable, findings[0]?.problem]).toEqual([false, expect.stringContaining('the oldest that works is 1.14')]);
});

describe('devices that cannot be', () => {
  it('a tap that is missing, at the start and later', () =>
    withMachine({}, async ({ hypervisor }) => {
      const card: Device = { kind: 'net', id: 'n', tap: 'tap-none' };
      await hypervisor.create();
      expect((await failure(hypervisor.addDevice(card))).code).toBe('INVALID_ARGUMENT');
      await hypervisor.start();
      expect((await failure(hypervisor.hotplugAddDevice(card))).code).toBe('INVALID_ARGUMENT');
    }));

  it('a ninth disk that is swapped in, one that may not be written, and one that was there', () =>
    withMachine({ version: '1.15.0' }, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.addDevice(disk('cold'));
      await hypervisor.start();
      for (let index = 0; index < 8; index++) await hypervisor.hotplugAddDevice(disk(`d${index}`));
      expect((await failure(hypervisor.hotplugAddDevice(disk('d8')))).code).toBe('INVALID_ARGUMENT');
      await hypervisor.hotplugRemoveDevice(disk('d3'));
      expect((await failure(hypervisor.hotplugAddDevice(disk('d9', { readOnly: true })))).code).toBe('UNSUPPORTED');
      await hypervisor.hotplugAddDevice(disk('d9'));
      expect((await failure(hypervisor.hotplugRemoveDevice(disk('cold')))).code).toBe('UNSUPPORTED');
      const { disks } = await hypervisor.statistics();
      expect(disks?.map(({ id, readBytes }) => [id, readBytes])).toContainEqual(['d9', 512]);
      const card: Device = { kind: 'net', id: 'n', tap: 'tap-none' };
      expect((await failure(hypervisor.hotplugAddDevice(card))).rawMessage).toContain('1.16 can');
    }));

  it('a disk in the folder of the VMM, and two of one name', () =>
    withMachine({}, async ({ hypervisor, context }) => {
      await hypervisor.create();
      const inside = path.join(context.runtimeFolder, 'mine.img');
      writeFileSync(inside, 'x');
      expect((await failure(hypervisor.addDevice(disk('d', { path: inside })))).code).toBe('INVALID_ARGUMENT');
      await hypervisor.addDevice(disk('a-b'));
      expect((await failure(hypervisor.addDevice(disk('a_b')))).code).toBe('INVALID_ARGUMENT');
      expect((await failure(hypervisor.addDevice(disk('pool0')))).code).toBe('INVALID_ARGUMENT');
    }));

  it('anything on the bus once something was taken off it, but what goes into drives', () =>
    withMachine({}, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      const [one, two] = [disk('one', { readOnly: true }), disk('two', { readOnly: true })];
      // Behind eight drives, the vsock and the entropy device.
      expect(await hypervisor.hotplugAddDevice(one)).toEqual({ guestPath: '0000:00:0b.0' });
      expect(await hypervisor.hotplugAddDevice(two)).toEqual({ guestPath: '0000:00:0c.0' });
      await hypervisor.hotplugRemoveDevice(one);
      expect((await failure(hypervisor.hotplugAddDevice(one))).code).toBe('UNSUPPORTED');
      await hypervisor.hotplugAddDevice(disk('three'));
    }));

  it('what Firecracker refuses leaves nothing in its folder', () =>
    withMachine({ fault: 'PATCH /drives/pool0:refuse' }, async ({ hypervisor, context }) => {
      await hypervisor.create();
      await hypervisor.start();
      expect((await failure(hypervisor.hotplugAddDevice(disk('late')))).code).toBe('VMM_FAILED');
      expect(existsSync(path.join(context.runtimeFolder, 'disk-late'))).toBe(false);
    }));

  it('memory for a VM that was started without room for it', () =>
    withMachine({}, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      expect((await failure(hypervisor.resizeMemory(512, 128, false))).code).toBe('UNSUPPORTED');
    }));
});

describe('snapshots that cannot be loaded', () => {
  it.each<[what: string, spoil: (folder: string) => void, version: string, code: string]>([
    ['a missing memory file', (folder) => rmSync(savedFiles.memory(folder)), '1.17.0', 'FILE_NOT_FOUND'],
    ['an empty one', (folder) => truncateSync(savedFiles.memory(folder), 0), '1.17.0', 'FILE_INVALID'],
    [
      "another VMM's",
      (folder) => renameSync(savedFiles.machine(folder), path.join(folder, 'cloud-hypervisor.json')),
      '1.17.0',
      'FILE_NOT_FOUND',
    ],
    ['no machine', (folder) => writeFileSync(savedFiles.machine(folder), '{"schema":1}'), '1.17.0', 'STATE_INVALID'],
    ["a newer version's", () => undefined, '1.16.1', 'HYPERVISOR_TOO_OLD'],
    ['a broken state', (folder) => writeFileSync(savedFiles.state(folder), '{'), '1.17.0', 'START_FAILED'],
  ])('%s', async (_, spoil, version, code) => {
    const folder = at.file('snapshot');
    mkdirSync(folder);
    await withMachine({ version: '1.17.0' }, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.addDevice(disk('kept', { readOnly: true }));
      await hypervisor.start();
      await hypervisor.pause();
      await hypervisor.save(folder);
    });
    spoil(folder);
    await withMachine({ version }, async ({ hypervisor }) => {
      await hypervisor.create();
      expect((await failure(hypervisor.restore(folder))).code).toBe(code);
      expect(await hypervisor.pids()).toEqual([]);
    });
  });

  it('one at which it dies', async () => {
    const folder = at.file('snapshot');
    mkdirSync(folder);
    await withMachine({}, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      await hypervisor.pause();
      await hypervisor.save(folder);
    });
    await withMachine({ fault: 'PUT /snapshot/load:die' }, async ({ hypervisor, context }) => {
      await hypervisor.create();
      expect((await failure(hypervisor.restore(folder))).code).toBe('START_FAILED');
      expect(await hypervisor.pids()).toEqual([]);
      expect(readdirSync(context.runtimeFolder).filter((name) => name.startsWith('snapshot'))).toEqual([]);
    });
  });

  it('builds on the snapshot before it, and on no other', async () => {
    const folders = ['one', 'two', 'three'].map((name) => at.file(name));
    for (const folder of folders) mkdirSync(folder);
    const [one = '', two = '', three = ''] = folders;
    await withMachine({ hypervisorParams: [{ key: 'track-dirty-pages', value: '' }] }, async ({ hypervisor }) => {
      await hypervisor.create();
      await hypervisor.start();
      await hypervisor.pause();
      await hypervisor.save(one);
      await hypervisor.save(two, { base: one });
      expect((await failure(hypervisor.save(three, { base: one }))).code).toBe('INVALID_ARGUMENT');
      await hypervisor.save(three, { base: two });
    });
  });
});

it('clears what a jail has left', async () => {
  const runtime = at.file('runtime');
  mkdirSync(path.join(runtime, 'firecracker', 'abcdef012345', 'root', 'dev'), { recursive: true });
  writeFileSync(path.join(runtime, 'firecracker', 'abcdef012345', 'root', 'vmm.log'), 'old');
  await clearJail(runtime, 'abcdef012345');
  await clearJail(runtime, 'abcdef012345');
  expect(existsSync(path.join(runtime, 'firecracker'))).toBe(false);
});
