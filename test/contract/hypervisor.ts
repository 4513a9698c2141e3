import { existsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { beforeAll, afterAll, describe, expect, it } from 'vitest';
import { completeConfig } from '../../src/config/complete.ts';
import { assertCovers } from '../../src/config/field-use.ts';
import { readHostFacts } from '../../src/config/host.ts';
import { cliProgram } from '../../src/config/package-files.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import type { ConfinementLevel } from '../../src/confinement/level.ts';
import { VmError } from '../../src/errors.ts';
import { operations, type Operation } from '../../src/hypervisors/capabilities.ts';
import { deviceKinds } from '../../src/hypervisors/device.ts';
import type { Hypervisor, HypervisorModule, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { type AgentLink, linkAgent } from '../../src/sandbox/agent-link.ts';
import { removeFiles } from '../../src/sandbox/remove-files.ts';
import { vmFiles } from '../../src/state/paths.ts';
import { isAlive } from '../../src/state/process-identity.ts';
import { VmStore } from '../../src/state/store.ts';
import { hasKeeper } from '../../src/transports/process/lease.ts';
import { itChanges } from './changes.ts';
import { itPlugs } from './devices.ts';

/** What the suite needs to know of a VMM to run it. */
export interface ContractFixture {
  /** configuration of a small guest with our agent in it */
  config(): Promise<VmConfigInput>;
  accel: 'kvm' | 'tcg';
  /** how the VMM is confined; off by default */
  confinement?: ConfinementLevel | undefined;
  /** what sets this fixture apart from another one of the same VMM */
  variant?: string | undefined;
  /** a known defect of this VMM's version: whoever talks with the agent must connect anew after a resume */
  resumeEndsSessions?: boolean | undefined;
}

interface Machine {
  hypervisor: Hypervisor;
  context: VmContext;
  store: VmStore;
}

let serial = 0;

/** The suite that every driver must pass: what the interface promises, asked of the VMM itself. */
export function describeHypervisor(module: HypervisorModule, fixture: ContractFixture): void {
  const title = [module.type, fixture.variant].filter((part) => part !== undefined).join(' ');
  const make = async (change: VmConfigInput = {}): Promise<Machine> => {
    const host = await readHostFacts();
    const config = completeConfig({ ...(await fixture.config()), ...change }, { fields: module.fields, host });
    const store = new VmStore();
    const name = `contract-${process.pid}-${++serial}`;
    const record = await store.create({ name, hypervisor: module.type });
    const context: VmContext = {
      id: record.id,
      name,
      config,
      accel: fixture.accel,
      confinement: fixture.confinement,
      hostMemoryMiB: host.memoryMiB,
      runtimeFolder: record.runtimeFolder,
      stateFolder: store.folder(name),
      pruneArgv: [process.execPath, cliProgram, 'prune', name],
    };
    return { hypervisor: manage(module, context), context, store };
  };

  const discard = async ({ hypervisor, context, store }: Machine): Promise<void> => {
    if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
    await hypervisor.cleanup();
    await removeFiles(store, context);
  };

  const withMachine = async (use: (machine: Machine) => Promise<void>, change: VmConfigInput = {}): Promise<void> => {
    const machine = await make(change);
    try {
      await use(machine);
    } finally {
      await discard(machine);
    }
  };

  const agentOf = ({ hypervisor, context }: Machine): Promise<AgentLink> =>
    linkAgent(context.stateFolder, hypervisor.channels(), { timeoutMs: 120_000 }).catch(async (error: unknown) => {
      // What the guest was about is on its console.
      throw VmError.from(error).with(await hypervisor.lastWords());
    });

  /** @param again connects anew after the resume, where that ends sessions */
  const standsStill = async (
    { hypervisor, context }: Machine,
    link: AgentLink,
    again?: (machine: Machine) => Promise<AgentLink>,
  ): Promise<void> => {
    await hypervisor.pause();
    try {
      expect(hypervisor.state).toBe('paused');
      expect(await codeOf(hypervisor.pause())).toBe('INVALID_STATE');
      expect(await codeOf(link.agent.ping({ timeoutMs: 300 }))).toBe('TIMEOUT');
      const adopted = manage(module, context);
      await adopted.loadState(await hypervisor.saveState());
      expect(adopted.state).toBe('paused');
    } finally {
      await hypervisor.resume();
    }
    if (again === undefined) {
      await link.agent.ping({ timeoutMs: 60_000 });
      return;
    }
    await link.close();
    const second = await again({ hypervisor, context } as Machine);
    await second.agent.ping({ timeoutMs: 60_000 });
    await second.close();
  };

  const codeOf = async (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => 'resolved',
      (error: unknown) => (error instanceof VmError ? error.code : String(error)),
    );

  describe(`${title}: declarations`, () => {
    it('says of every configuration field whether it uses it', () => {
      expect(() => assertCovers(module.fields)).not.toThrow();
    });

    it('says of every operation and device whether it can do it', () => {
      expect(Object.keys(module.capabilities.operations).toSorted()).toEqual([...operations].toSorted());
      expect(Object.keys(module.capabilities.devices).toSorted()).toEqual([...deviceKinds].toSorted());
    });
  });

  describe(`${title}: before a start`, () => {
    it('plans purely: the same context gives the same plan, and nothing is made', async () =>
      withMachine(async ({ context, hypervisor }) => {
        const first = module.plan(context, '/usr/bin/vmm');
        expect(module.plan(context, '/usr/bin/vmm')).toEqual(first);
        expect(structuredClone(first)).toEqual(first);
        expect(first.argv.join(' ')).toContain(context.runtimeFolder);
        expect(hypervisor.state).toBe('none');
      }));

    it('refuses what needs a running VM', async () =>
      withMachine(async ({ hypervisor }) => {
        const { operations: offered } = module.capabilities;
        /** What is not offered is refused as such in any state. */
        const refusal = (operation: Operation): string =>
          offered[operation] === true ? 'INVALID_STATE' : 'UNSUPPORTED';
        expect(await codeOf(hypervisor.start())).toBe('INVALID_STATE');
        expect(await codeOf(hypervisor.stop())).toBe('INVALID_STATE');
        expect(await codeOf(hypervisor.check())).toBe('INVALID_STATE');
        expect(await codeOf(hypervisor.threadIds())).toBe(refusal('threadIds'));
        await hypervisor.create();
        expect(await codeOf(hypervisor.create())).toBe('INVALID_STATE');
        expect(await codeOf(hypervisor.pause())).toBe(refusal('pause'));
        expect(await hypervisor.pids()).toEqual([]);
      }));

    it('creates what its plan says, and cleans it up without a start [create] [cleanup]', async () =>
      withMachine(async ({ hypervisor, context }) => {
        const files = module
          .plan(context, context.config.hypervisorPath ?? '/usr/bin/vmm')
          .files.map(({ path }) => path);
        expect(files.length).toBeGreaterThan(0);
        await hypervisor.create();
        expect(hypervisor.state).toBe('created');
        expect(files.filter((file) => !existsSync(file))).toEqual([]);
        await hypervisor.cleanup();
        expect(files.filter((file) => existsSync(file))).toEqual([]);
      }));

    it('gives up a start when the caller does, and leaves no process', async () =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        expect(await codeOf(hypervisor.start({ signal: AbortSignal.abort() }))).toBe('ABORTED');
        expect(await hypervisor.pids()).toEqual([]);
      }));

    it('refuses a saved state that is not its own', async () =>
      withMachine(async ({ hypervisor }) => {
        for (const state of [undefined, null, {}, { schema: 99 }, 'text', { schema: 1, binary: 7 }]) {
          expect(await codeOf(hypervisor.loadState(state))).toBe('STATE_INVALID');
        }
      }));
  });

  describe(`${title}: a running VM`, () => {
    let machine: Machine;
    let link: AgentLink;
    /** A test of operations that the VMM offers; what it doesn't offer it refuses, which is tested below. */
    const given = (...names: Operation[]): ((what: string, test: () => Promise<void>) => void) =>
      names.every((name) => module.capabilities.operations[name] === true) ? it : (): void => undefined;

    beforeAll(async () => {
      machine = await make();
      await machine.hypervisor.create();
      await machine.hypervisor.start();
      link = await agentOf(machine);
    });
    afterAll(async () => {
      await link.close();
      await discard(machine);
    });

    it('runs commands by the agent [start]', async () => {
      const result = await link.agent.exec(['/bin/sh', '-c', 'echo out; echo err >&2; exit 3']);
      expect(result).toMatchObject({ stdout: 'out\n', stderr: 'err\n', exitCode: 3 });
    });

    it('is well, and says which process it is [check] [pids]', async () => {
      await machine.hypervisor.check();
      const pids = await machine.hypervisor.pids();
      expect(pids[0]).toBe(machine.hypervisor.process()?.pid);
    });

    it('tells what it was made of, and offers no more than it declares [config] [capabilities]', () => {
      expect(machine.hypervisor.config()).toEqual(machine.context.config);
      const offered = machine.hypervisor.capabilities();
      expect(operations.filter((name) => offered.operations[name] === true)).toEqual(
        operations.filter((name) => offered.operations[name] === true && module.capabilities.operations[name] === true),
      );
    });

    given('threadIds')('has a thread for every vCPU [threadIds]', async () => {
      const threads = await machine.hypervisor.threadIds();
      expect([...threads.keys()]).toEqual(Array.from({ length: machine.context.config.vcpus }, (_, vcpu) => vcpu));
      for (const thread of threads.values()) expect(thread).toBeGreaterThan(1);
    });

    it('lets a second client talk with the agent on a channel of its own', async () => {
      const second = await agentOf(machine);
      try {
        expect((await second.agent.exec(['echo', 'two'])).stdout).toBe('two\n');
        expect((await link.agent.exec(['echo', 'one'])).stdout).toBe('one\n');
      } finally {
        await second.close();
      }
    });

    it('is adopted by its saved state [saveState] [loadState] [disconnect]', async () => {
      const saved = structuredClone(await machine.hypervisor.saveState());
      const adopted = manage(module, machine.context);
      await adopted.loadState(saved);
      expect(adopted.state).toBe('running');
      await adopted.check();
      expect(await adopted.pids()).toEqual(await machine.hypervisor.pids());
      await adopted.disconnect();
    });

    it('tells where its console is, and where that is written down [console]', async () => {
      const { path, log } = await machine.hypervisor.console();
      expect([path, log].filter((file) => !existsSync(file))).toEqual([]);
    });

    it('quotes the last words of the VMM', async () => {
      await appendFile(vmFiles.vmmLog(machine.context.stateFolder), 'I have spoken\n');
      expect((await machine.hypervisor.lastWords()).log).toMatch(/I have spoken$/);
    });

    it('names the socket between host and guest [generateSocket]', async () => {
      const { hypervisor } = machine;
      // A VMM has serial ports for its agent, or a vsock.
      const vsock = hypervisor.channels()[0]?.name.startsWith('vsock') ?? false;
      const expected = vsock
        ? { kind: 'hybrid-vsock', port: 1024 }
        : { kind: 'unix', name: 'agent.channel.0', id: 'charch0', deviceId: 'channel0' };
      expect(await hypervisor.generateSocket(vsock)).toMatchObject(expected);
      expect(await codeOf(hypervisor.generateSocket(!vsock))).toBe('UNSUPPORTED');
    });

    given('pause', 'resume')('stands still while it is paused [pause] [resume]', async () => {
      if (fixture.resumeEndsSessions !== true) return standsStill(machine, link);
      // One of its own: the other tests' session would end.
      return withMachine(async (own) => {
        await own.hypervisor.create();
        await own.hypervisor.start();
        await standsStill(own, await agentOf(own), agentOf);
      });
    });

    it.for([...operations])('does [%s], or refuses it as declared', async (operation, { task }) => {
      const support = machine.hypervisor.capabilities().operations[operation];
      // For the matrix of the lab, which is made of reports.
      Object.assign(task.meta, { support });
      if (support === true) return expect(typeof machine.hypervisor[operation]).toBe('function');
      expect(await codeOf(callAnyhow(machine.hypervisor, operation))).toBe('UNSUPPORTED');
      return undefined;
    });

    itPlugs(module, { running: () => machine.hypervisor, withMachine, codeOf });

    itChanges(module, { machine: () => machine, link: () => link, withMachine, agentOf, codeOf });
  });

  describe(`${title}: the end`, () => {
    it('stops, says so, and can be cleaned up twice [stop] [cleanup]', async () =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        await hypervisor.start();
        const identity = hypervisor.process();
        await hypervisor.stop();
        expect(hypervisor.state).toBe('stopped');
        expect(identity !== undefined && isAlive(identity)).toBe(false);
        expect(await hypervisor.pids()).toEqual([]);
        await hypervisor.cleanup();
        await hypervisor.cleanup();
        expect(await codeOf(hypervisor.start())).toBe('INVALID_STATE');
      }));

    it('lives on without a keeper when it is detached', async () =>
      withMachine(async ({ hypervisor, context }) => {
        await hypervisor.create();
        await hypervisor.start();
        const lease = vmFiles.lease(context.stateFolder);
        expect(await hasKeeper(lease)).toBe(true);
        await hypervisor.detach();
        expect(await hasKeeper(lease)).toBe(false);
        await hypervisor.check();
      }));

    it('tells how it ended when it is killed', async () =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        await hypervisor.start();
        const ended = hypervisor.wait();
        await hypervisor.kill();
        expect(await ended).toMatchObject({ signal: 'SIGKILL' });
      }));

    it('notices a VMM that died by itself', async () =>
      withMachine(async ({ hypervisor }) => {
        await hypervisor.create();
        await hypervisor.start();
        const identity = hypervisor.process();
        process.kill(identity?.pid ?? 0, 'SIGKILL');
        await hypervisor.wait();
        expect(await codeOf(hypervisor.check())).toBe('VMM_GONE');
        await hypervisor.stop();
      }));

    it('powers off when the guest does', async () =>
      withMachine(async (machine) => {
        await machine.hypervisor.create();
        await machine.hypervisor.start();
        const link = await agentOf(machine);
        await link.agent.powerOff();
        await machine.hypervisor.wait({ timeoutMs: 60_000 });
        await link.close();
        expect(await machine.hypervisor.pids()).toEqual([]);
      }));
  });
}

/** Calls an operation with arguments of the right types. */
function callAnyhow(hypervisor: Hypervisor, operation: Operation): Promise<unknown> {
  const device = { kind: 'block', id: 'disk', path: '/dev/null', format: 'raw', readOnly: true } as const;
  switch (operation) {
    case 'save':
    case 'restore':
      return hypervisor[operation]('/tmp');
    case 'pause':
    case 'resume':
    case 'threadIds':
      return hypervisor[operation]();
    case 'dumpMemory':
      return hypervisor.dumpMemory('/tmp/none');
    case 'addDevice':
    case 'hotplugAddDevice':
    case 'hotplugRemoveDevice':
      return hypervisor[operation](device);
    case 'resizeMemory':
      return hypervisor.resizeMemory(1024, 128, false);
    case 'resizeVcpus':
      return hypervisor.resizeVcpus(1);
    case 'toGrpc':
      return hypervisor.toGrpc();
    case 'fromGrpc':
      return hypervisor.fromGrpc(new Uint8Array());
    default:
      throw new Error(`${operation} may not be unsupported`);
  }
}
