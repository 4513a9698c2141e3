import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { vmName } from '../../src/hypervisors/acrn/plan.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { connectUnix } from '../../src/transports/unix-socket.ts';
import { until } from '../fakes/child.ts';
import { failure } from '../fakes/failure.ts';
import { acrnGround } from './acrn-ground.ts';
import type { Machine } from './acrn-machine.ts';
import type { RigOptions, RigPlaces } from './acrn.ts';

/**
 * What the real acrn-dm can be asked without a guest: its command line, how it makes its devices, its sockets, how it stops, and what it
 * leaves. The rig takes every call of the hypervisor's and runs no code, so that no KVM is needed: root and huge pages are.
 */
export function describeWithoutGuest(at: RigPlaces): void {
  describe('acrn: the real device model, without a guest', () => {
    const { disk, file, withCreated, pages, managerSockets, expectNothingLeft } = acrnGround(at);
    const opened = ({ hypervisor }: Machine): string[] => {
      const fds = `/proc/${hypervisor.process()?.pid ?? 0}/fd`;
      return readdirSync(fds).map((fd) => readlinkSync(path.join(fds, fd)));
    };
    const serves = async (socket: string): Promise<void> => {
      (await connectUnix(socket, { mustExist: true, timeoutMs: 5_000 })).destroy();
    };

    it('takes all that it is told, has a disk swapped in, is handed on, and stops when it is asked to', async () => {
      const before = pages();
      const change: VmConfigInput = { debug: true, hypervisorParams: [{ key: 'virtio_poll', value: '1000000' }] };
      await withCreated(async (machine) => {
        const { hypervisor, context } = machine;
        const { runtimeFolder } = context;
        const [cold, fixed, hot] = [disk('cold'), { ...disk('fixed'), readOnly: true }, disk('hot')];
        const port = { kind: 'serial-port', id: 'port', name: 'a.port' } as const;
        for (const device of [cold, fixed, port]) await hypervisor.addDevice(device);
        await hypervisor.start();
        await hypervisor.check();
        // 128 MiB, and 16 for the frame buffer.
        expect(pages()).toBeGreaterThanOrEqual(72);
        expect(managerSockets(machine)).toHaveLength(1);
        const anchor = vmmFiles.anchorDisk(runtimeFolder);
        expect(opened(machine)).toEqual(expect.arrayContaining([cold.path, fixed.path, anchor]));
        const agents = hypervisor.channels().map((_, number) => vmmFiles.agentSocket(runtimeFolder, number));
        const own = [vmmFiles.monitorSocket(runtimeFolder), vmmFiles.consoleSocket(runtimeFolder)];
        for (const socket of [...own, ...agents, vmmFiles.deviceSocket(runtimeFolder, port.id)]) await serves(socket);
        expect((await hypervisor.statistics()).residentBytes).toBeGreaterThan(0);

        await hypervisor.hotplugAddDevice(hot);
        expect(opened(machine)).toContain(hot.path);
        expect((await failure(hypervisor.hotplugAddDevice(hot))).code).toBe('INVALID_ARGUMENT');
        expect((await failure(hypervisor.hotplugRemoveDevice(hot))).code).toBe('UNSUPPORTED');

        const adopted = machine.again();
        await adopted.loadState(structuredClone(await hypervisor.saveState()));
        expect(await adopted.pids()).toEqual(await hypervisor.pids());
        const received = machine.again();
        await received.fromGrpc(await hypervisor.toGrpc());
        await received.check();

        const ended = hypervisor.wait();
        await hypervisor.stop();
        expect(await ended).toMatchObject({ code: 0 });
        await expectNothingLeft(machine, before);
      }, change);
    });

    it('starts with as many disks as it has room for, and has no empty ones then', async () => {
      const before = pages();
      await withCreated(async (machine) => {
        const { hypervisor } = machine;
        const disks = Array.from({ length: 10 }, (_, number) => disk(`disk${number}`));
        for (const device of disks) await hypervisor.addDevice(device);
        expect((await failure(hypervisor.addDevice(disk('more')))).code).toBe('INVALID_ARGUMENT');
        await hypervisor.start();
        expect(opened(machine)).toEqual(expect.arrayContaining(disks.map(({ path: file }) => file)));
        expect((await failure(hypervisor.hotplugAddDevice(disk('hot')))).code).toBe('INVALID_ARGUMENT');
        await hypervisor.stop();
        await expectNothingLeft(machine, before);
      });
    });

    it('does not start with an iasl that is too old', async () => {
      const before = pages();
      const old = file('iasl', "#!/bin/sh\necho 'ASL+ Optimizing Compiler/Disassembler version 20180105'\n");
      const searched = process.env['PATH'];
      process.env['PATH'] = `${path.dirname(old)}:${searched}`;
      try {
        await withCreated(async (machine) => {
          const error = await failure(machine.hypervisor.start());
          expect([error.code, error.advice]).toEqual(['HOST_MISSING', expect.stringContaining('20190703')]);
          await expectNothingLeft(machine, before);
        });
      } finally {
        process.env['PATH'] = searched;
      }
    });

    it('can not open a tap that another VM has', async () => {
      const name = 'acrn-busy';
      execFileSync('ip', ['tuntap', 'add', name, 'mode', 'tap']);
      try {
        const before = pages();
        const card = { kind: 'net', id: 'card', tap: name } as const;
        await withCreated(async (first) => {
          await first.hypervisor.addDevice(card);
          await first.hypervisor.start();
          await withCreated(async (second) => {
            await second.hypervisor.addDevice(card);
            const error = await failure(second.hypervisor.start());
            expect([error.code, error.rawMessage]).toEqual(['START_FAILED', expect.stringContaining(name)]);
            expect(await second.hypervisor.pids()).toEqual([]);
          });
          await first.hypervisor.check();
          await first.hypervisor.stop();
          await expectNothingLeft(first, before);
        });
      } finally {
        execFileSync('ip', ['link', 'delete', name]);
      }
    });

    const { acrnctl } = at;
    (acrnctl === undefined ? (): void => undefined : it)(
      'is listed by acrnctl as long as it runs, which puts no second disk where ours is',
      async () => {
        const before = pages();
        const told = (...words: string[]): string => execFileSync(acrnctl ?? '', words, { encoding: 'utf8' });
        await withCreated(async (machine) => {
          const { hypervisor, context } = machine;
          const name = vmName(context.id);
          await hypervisor.start();
          expect(told('list')).toMatch(new RegExp(`^${name}\\s+started$`, 'm'));
          // One that we put a disk into has no other place for it.
          await hypervisor.hotplugAddDevice(disk('ours'));
          expect(told('blkrescan', name, `23,${disk('theirs').path}`)).toContain('Unable to rescan');
          expect(opened(machine)).not.toContain(disk('theirs').path);
          await hypervisor.stop();
          expect(told('list')).not.toContain(name);
          await expectNothingLeft(machine, before);
        });
      },
    );

    it.each<[when: string, isNow: (machine: Machine) => boolean]>([
      ['it has a process', ({ hypervisor }) => hypervisor.process() !== undefined],
      ['its monitor is there', ({ context }) => existsSync(vmmFiles.monitorSocket(context.runtimeFolder))],
      ['acrnctl finds it', (machine) => managerSockets(machine).length > 0],
    ])('leaves nothing when it is killed once %s', async (_, isNow) => {
      const before = pages();
      await withCreated(async (machine) => {
        const { hypervisor } = machine;
        const failed = failure(hypervisor.start());
        await until('the moment', () => isNow(machine));
        process.kill(hypervisor.process()?.pid ?? 0, 'SIGKILL');
        expect(await failed).toMatchObject({ code: 'START_FAILED', facts: { signal: 'SIGKILL' } });
        await expectNothingLeft(machine, before);
      });
    });

    it('leaves nothing when it is killed while it runs, and is stopped', async () => {
      const before = pages();
      await withCreated(async (machine) => {
        const { hypervisor } = machine;
        await hypervisor.start();
        process.kill(hypervisor.process()?.pid ?? 0, 'SIGKILL');
        await hypervisor.wait();
        expect((await failure(hypervisor.check())).code).toBe('VMM_GONE');
        expect((await failure(hypervisor.hotplugAddDevice(disk('late')))).code).toBe('VMM_GONE');
        await hypervisor.stop();
        await expectNothingLeft(machine, before);
      });
    });
  });
}

/** The hypervisor refuses one call after the other, by the rig's own switch. */
export function describeRefusals(at: RigPlaces, backend: NonNullable<RigOptions['BACKEND']>): void {
  describe(`acrn: a hypervisor that refuses, over ${backend}`, () => {
    const { withCreated, pages, expectNothingLeft } = acrnGround(at);
    it.each<[call: string, number: string, words: RegExp]>([
      ['CREATE_VM', '10', /failed to create VM/],
      ['SET_MEMSEG', '41', /./],
      ['START_VM', '12', /refused to start the guest/],
    ])('%s', async (_, number, words) => {
      const before = pages();
      await withCreated(
        async (machine) => {
          const error = await failure(machine.hypervisor.start());
          expect([error.code, error.rawMessage]).toEqual(['START_FAILED', expect.stringMatching(words)]);
          expect(error.advice).not.toBe('');
          await expectNothingLeft(machine, before);
        },
        {},
        { BACKEND: backend, FAIL: number },
      );
    });
  });
}
