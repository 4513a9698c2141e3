import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { GuestAgent } from '../../src/guest/agent.ts';
import type { BlockDevice } from '../../src/hypervisors/device.ts';
import type { Hypervisor } from '../../src/hypervisors/hypervisor.ts';
import { HeldVm } from '../../src/sandbox/held-vm.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { vmmFiles } from '../../src/state/paths.ts';
import { VmStore } from '../../src/state/store.ts';
import { connectQmp, type QmpClient } from '../../src/transports/qmp/client.ts';
import { type BareVm, bareStarter } from './bare.ts';
import { type Estimate, ratio } from './statistics.ts';

/** How often each machine is plugged into: under TCG nothing can be plugged after a vCPU was unplugged, so each takes only so many. */
const perMachine = 7;
const memoryMiB = 512;
const diskMiB = 256;

const options: VmOptions = { hypervisor: 'qemu', vcpus: 1, maxVcpus: perMachine + 1, memoryMiB: 512 };

/** One of ours, held as a long-lived program holds it, and one that is told by hand over a monitor that stays open. */
interface Pair {
  ours: { vm: Vm; hypervisor: Hypervisor };
  bare: BareVm & { qmp: QmpClient };
}

/** What is plugged, by us and by hand, and how it is told that the guest has it. */
interface Plug {
  ours(pair: Pair, round: number): Promise<unknown>;
  byHand(qmp: QmpClient, agent: GuestAgent, round: number): Promise<unknown>;
  seen(agent: GuestAgent, round: number): Promise<boolean>;
}

const vcpu: Plug = {
  ours: ({ ours }, round) => ours.vm.resize({ vcpus: round + 2 }),
  byHand: async (qmp, _agent, round) => {
    const places = await qmp.execute<{ type: string; props: object; 'qom-path'?: string }[]>('query-hotpluggable-cpus');
    const place = places.findLast((one) => one['qom-path'] === undefined);
    await plugAcpi(qmp, { driver: place?.type, id: `hand${round}`, ...place?.props });
  },
  seen: async (agent, round) => (await agent.online()).cpus === round + 2,
};

const memory: Plug = {
  ours: ({ ours }, round) => ours.vm.resize({ memoryMiB: 512 + memoryMiB * (round + 1) }),
  byHand: async (qmp, _agent, round) => {
    const id = `hand${round}`;
    await qmp.execute('object-add', { 'qom-type': 'memory-backend-ram', id: `${id}-memory`, size: memoryMiB << 20 });
    await plugAcpi(qmp, { driver: 'pc-dimm', id, memdev: `${id}-memory` });
  },
  seen: async (agent, round) => (await agent.online()).memoryBlocks >= (memoryMiB / 128) * (round + 2),
};

/** By hand: the guest says by ACPI's _OST that it has seen what came; asked before, it would be in the middle of it. */
async function plugAcpi(qmp: QmpClient, device: Record<string, unknown> & { id: string }): Promise<void> {
  const told = qmp.nextEvent(
    ({ event, data }) => event === 'ACPI_DEVICE_OST' && (data['info'] as { device?: string }).device === device.id,
    { timeoutMs: 60_000 },
  );
  await Promise.all([told, qmp.execute('device_add', device)]);
}

/** @param file of the host, one for each round and side */
function disk(file: (name: string) => string): Plug {
  const named = (round: number): BlockDevice => ({
    kind: 'block',
    id: `disk${round}`,
    path: file(`ours${round}`),
    format: 'raw',
    readOnly: true,
  });
  return {
    ours: ({ ours }, round) => ours.hypervisor.hotplugAddDevice(named(round)),
    byHand: async (qmp, agent, round) => {
      const id = `disk${round}`;
      await plugDiskByHand(qmp, id, file(`hand${round}`));
      await agent.rescan();
    },
    seen: async (agent, round) => (await disks(agent)).length === round + 1,
  };
}

async function plugDiskByHand(qmp: QmpClient, id: string, filename: string): Promise<void> {
  const blockdev = { driver: 'raw', 'read-only': true, file: { driver: 'file', filename, 'read-only': true } };
  await qmp.execute('blockdev-add', { 'node-name': `${id}-node`, ...blockdev });
  await qmp.execute('device_add', { driver: 'virtio-blk-pci', id, drive: `${id}-node`, bus: 'pci-bridge-0' });
}

async function disks(agent: GuestAgent): Promise<string[]> {
  const { stdout } = await agent.exec(['ls', '/sys/block'], { check: true });
  return stdout.split('\n').filter((name) => name.startsWith('vd'));
}

/** A figure, and what it may be at most. */
export interface PlugFigure {
  ratio: Estimate;
  most: number;
}

/**
 * From the call until the guest has what was plugged, against the same by hand, and reading a disk of the host's page cache.
 * What the driver does not offer is left out, and said.
 */
export async function hotPlug(pairs: number, report: (line: string) => void): Promise<Record<string, PlugFigure>> {
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-plug-'));
  const file = (name: string): string => {
    const at = path.join(folder, name);
    writeFileSync(at, Buffer.alloc(1 << 20), { mode: 0o644 });
    return at;
  };
  try {
    const start = await bareStarter(options);
    const figures: Record<string, PlugFigure> = {
      plugVcpuRatio: { ratio: await latencies('a vCPU', vcpu, start, pairs, report), most: 1.1 },
      plugMemoryRatio: { ratio: await latencies('512 MiB', memory, start, pairs, report), most: 1.1 },
    };
    const { qemu } = await import('../../src/hypervisors/qemu/index.ts');
    const offered = qemu.capabilities.devices.block.hotAdd;
    if (offered === true) {
      figures['plugDiskRatio'] = { ratio: await latencies('a disk', disk(file), start, pairs, report), most: 1.1 };
      figures['diskReadRatio'] = { ratio: await reading(folder, start, pairs, report), most: 1.05 };
    } else report(`plugDiskRatio, diskReadRatio: not measured, since ${offered}`);
    return figures;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function latencies(
  what: string,
  plug: Plug,
  start: () => Promise<BareVm>,
  pairs: number,
  report: (line: string) => void,
): Promise<Estimate> {
  const walls: (readonly [number, number])[] = [];
  while (walls.length < pairs) {
    await withPair(start, async (pair) => {
      const { ours, bare } = pair;
      for (let round = 0; round < perMachine && walls.length < pairs; round++) {
        const us = async (): Promise<number> => {
          const ms = await timed(() => plug.ours(pair, round));
          // That the guest has it is what our call promises.
          if (!(await plug.seen(ours.vm.agent, round))) throw new Error(`the guest lacks ${what} after the call`);
          return ms;
        };
        const hand = (): Promise<number> =>
          timed(async () => {
            await plug.byHand(bare.qmp, bare.agent, round);
            await until(() => plug.seen(bare.agent, round));
          });
        walls.push(await inTurn(walls.length, us, hand));
        report(shown(`${what} ${walls.length}/${pairs}`, walls.at(-1)));
      }
    });
  }
  return ratio(walls);
}

/** Bytes a second are compared by the time that the same bytes take. */
async function reading(
  folder: string,
  start: () => Promise<BareVm>,
  pairs: number,
  report: (line: string) => void,
): Promise<Estimate> {
  const image = path.join(folder, 'image');
  writeFileSync(image, Buffer.alloc(diskMiB << 20, 0x5a), { mode: 0o644 });
  const walls: (readonly [number, number])[] = [];
  await withPair(start, async ({ ours, bare }) => {
    await ours.hypervisor.hotplugAddDevice({ kind: 'block', id: 'image', path: image, format: 'raw', readOnly: true });
    await plugDiskByHand(bare.qmp, 'image', image);
    await bare.agent.rescan();
    for (const agent of [ours.vm.agent, bare.agent]) await until(async () => (await disks(agent)).length > 0);
    const read = async (agent: GuestAgent): Promise<number> => {
      const script = `echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=1M count=${diskMiB} 2>&1`;
      return timed(async () => agent.exec(['sh', '-c', script], { check: true }));
    };
    for (let at = 0; at < pairs; at++) {
      walls.push(
        await inTurn(
          at,
          () => read(ours.vm.agent),
          () => read(bare.agent),
        ),
      );
      report(shown(`${diskMiB} MiB read ${walls.length}/${pairs}`, walls.at(-1)));
    }
  });
  return ratio(walls);
}

/** Which comes first alternates, so that neither always finds a warmer host. */
async function inTurn(
  at: number,
  ours: () => Promise<number>,
  theirs: () => Promise<number>,
): Promise<readonly [number, number]> {
  if (at % 2 === 0) return [await ours(), await theirs()];
  const second = await theirs();
  return [await ours(), second];
}

/** In milliseconds. */
async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

/** Asks the guest again and again. */
async function until(seen: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await seen())) if (performance.now() > deadline) throw new Error('the guest never had it');
}

async function withPair(start: () => Promise<BareVm>, use: (pair: Pair) => Promise<void>): Promise<void> {
  const vm = await Vm.create(options);
  try {
    const store = new VmStore();
    const { hypervisor } = await HeldVm.fromRecord(store, await store.read(vm.name));
    const bare = await start();
    try {
      const qmp = await connectQmp(vmmFiles.qmpSocket(bare.folder));
      await use({ ours: { vm, hypervisor }, bare: { ...bare, qmp } });
      await qmp.close();
    } finally {
      await bare.end();
    }
  } finally {
    await vm.remove();
  }
}

function shown(what: string, pair: readonly [number, number] | undefined): string {
  const [ours = 0, hand = 0] = pair ?? [];
  return `${what}: ${ours.toFixed(0)} ms, by hand ${hand.toFixed(0)} ms`;
}
