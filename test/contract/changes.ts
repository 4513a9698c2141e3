import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Hypervisor, HypervisorModule, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import type { AgentLink } from '../../src/sandbox/agent-link.ts';

/** A VM that runs, and what the suite does with others. */
export interface RunningMachine<M extends { hypervisor: Hypervisor; context: VmContext }> {
  machine(): M;
  link(): AgentLink;
  withMachine(use: (machine: M) => Promise<void>): Promise<void>;
  agentOf(machine: M): Promise<AgentLink>;
  codeOf(promise: Promise<unknown>): Promise<string>;
}

/** What changes a VM while it runs, saves it or hands it over. Each test leaves it as it was. */
export function itChanges<M extends { hypervisor: Hypervisor; context: VmContext }>(
  { capabilities, ...module }: HypervisorModule,
  { machine, link, withMachine, agentOf, codeOf }: RunningMachine<M>,
): void {
  /** A test of operations, where the VMM offers them; what it doesn't offer it refuses, which is tested elsewhere. */
  const given = (
    ...names: (keyof typeof capabilities.operations)[]
  ): ((what: string, test: () => Promise<void>) => void) =>
    names.every((name) => capabilities.operations[name] === true)
      ? (what, test) =>
          it(what, async () => {
            // The program that was found may be less than the newest one.
            const offered = machine().hypervisor.capabilities().operations;
            if (names.every((name) => offered[name] === true)) await test();
          })
      : (): void => undefined;
  const inFolder = async (use: (folder: string) => Promise<void>): Promise<void> => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-contract-'));
    try {
      await use(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

  given('toGrpc', 'fromGrpc')(
    'is handed over as bytes to an object of another process [toGrpc] [fromGrpc]',
    async () => {
      const bytes = await machine().hypervisor.toGrpc();
      const elsewhere = { ...machine().context, id: '0'.repeat(12), name: 'elsewhere', runtimeFolder: '/nowhere' };
      const taken = manage({ ...module, capabilities }, elsewhere);
      await taken.fromGrpc(bytes);
      expect(taken.state).toBe('running');
      await taken.check();
      expect(await taken.pids()).toEqual(await machine().hypervisor.pids());
      expect(await codeOf(manage({ ...module, capabilities }, elsewhere).fromGrpc(bytes.subarray(1)))).toBe(
        'STATE_INVALID',
      );
      await taken.disconnect();
    },
  );

  given('resizeMemory')('grows and shrinks its memory, and says what it came to [resizeMemory]', async () => {
    const { hypervisor, context } = machine();
    const { memoryMiB } = context.config;
    expect(await hypervisor.resizeMemory(memoryMiB + 100, 128, false)).toMatchObject({
      beforeMiB: memoryMiB,
      memoryMiB: memoryMiB + 128,
      device: { kind: 'memory', sizeMiB: 128 },
    });
    expect(await hypervisor.resizeMemory(memoryMiB, 128, false)).toEqual({ beforeMiB: memoryMiB + 128, memoryMiB });
    const wrong: [sizeMiB: number, blockMiB: number][] = [
      [memoryMiB - 1, 128],
      [2 ** 30, 128],
      [memoryMiB + 128, 0],
    ];
    for (const [size, block] of wrong)
      expect(await codeOf(hypervisor.resizeMemory(size, block, false))).toBe('INVALID_ARGUMENT');
  });

  given('resizeVcpus')('refuses numbers of vCPUs beyond its limits', async () => {
    const { maxVcpus, vcpus } = machine().context.config;
    for (const wrong of [0, -1, 1.5, maxVcpus + 1])
      expect(await codeOf(machine().hypervisor.resizeVcpus(wrong))).toBe('INVALID_ARGUMENT');
    expect(await machine().hypervisor.resizeVcpus(vcpus)).toEqual({ before: vcpus, after: vcpus });
  });

  given('dumpMemory')('dumps its memory into a new file [dumpMemory]', async () =>
    inFolder(async (folder) => {
      const file = path.join(folder, 'memory');
      await machine().hypervisor.dumpMemory(file);
      expect(statSync(file).size).toBeGreaterThan(0);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(await codeOf(machine().hypervisor.dumpMemory(file))).toBe('IO');
      expect(statSync(file).size).toBeGreaterThan(0);
      await link().agent.ping();
    }),
  );

  given('save', 'restore')(
    'is saved while it is paused, and goes on from there in another one [save] [restore]',
    async () =>
      inFolder(async (folder) => {
        const saved = async (from: M, session: AgentLink): Promise<void> => {
          const { hypervisor } = from;
          expect(await codeOf(hypervisor.save(folder))).toBe('INVALID_STATE');
          let bytes = 0;
          await hypervisor.pause();
          await hypervisor.save(folder, { onProgress: (written) => (bytes = written) });
          expect(bytes).toBeGreaterThan(0);
          expect(hypervisor.state).toBe('paused');
          await hypervisor.resume();
          if (hypervisor.channels()[0]?.survivesRestore !== false) {
            await session.agent.ping({ timeoutMs: 60_000 });
            return;
          }
          // A vsock is reset when a snapshot is made, so that the guest that goes on from it knows of no connection.
          await session.close();
          const again = await agentOf(from);
          await again.agent.ping({ timeoutMs: 60_000 });
          await again.close();
        };
        if (machine().hypervisor.channels()[0]?.survivesRestore !== false) await saved(machine(), link());
        else
          await withMachine(async (own) => {
            await own.hypervisor.create();
            await own.hypervisor.start();
            await saved(own, await agentOf(own));
          });
        await withMachine(async (other) => {
          await other.hypervisor.create();
          await other.hypervisor.restore(folder);
          expect(other.hypervisor.state).toBe('paused');
          await other.hypervisor.resume();
          const second = await agentOf(other);
          expect((await second.agent.exec(['echo', 'again'])).stdout).toBe('again\n');
          await second.close();
        });
        // The VMM may let it go on by itself.
        await withMachine(async (other) => {
          await other.hypervisor.create();
          const found = await other.hypervisor.restore(folder, { goOn: true });
          expect(other.hypervisor.state).toBe(found);
          if (found === 'paused') await other.hypervisor.resume();
          const third = await agentOf(other);
          expect((await third.agent.exec(['echo', 'at once'])).stdout).toBe('at once\n');
          await third.close();
        });
      }),
  );

  given('save', 'restore')('is not restored from a folder that holds nothing', async () =>
    inFolder((folder) =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        expect(await codeOf(hypervisor.restore(folder))).toMatch(/^(FILE_NOT_FOUND|STATE_INVALID)$/);
        expect(await hypervisor.pids()).toEqual([]);
      }),
    ),
  );

  // Last: QEMU under TCG plugs nothing after a vCPU was unplugged.
  given('resizeVcpus')('gives vCPUs back, and says what it came to [resizeVcpus]', async () => {
    const { hypervisor, context } = machine();
    const { vcpus } = context.config;
    if (hypervisor.capabilities().devices.cpu.hotRemove !== true) {
      expect(await codeOf(hypervisor.resizeVcpus(vcpus - 1))).toBe('UNSUPPORTED');
      expect((await hypervisor.threadIds()).size).toBe(vcpus);
      return;
    }
    expect(await hypervisor.resizeVcpus(vcpus - 1)).toEqual({ before: vcpus, after: vcpus - 1 });
    expect((await hypervisor.threadIds()).size).toBe(vcpus - 1);
    expect(await hypervisor.resizeVcpus(vcpus - 1)).toEqual({ before: vcpus - 1, after: vcpus - 1 });
  });
}
