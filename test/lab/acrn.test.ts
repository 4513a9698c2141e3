import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { VmError } from '../../src/errors.ts';
import { acrn } from '../../src/hypervisors/acrn/index.ts';
import { vmName } from '../../src/hypervisors/acrn/plan.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { type Machine, withAcrn } from '../rigs/acrn-machine.ts';
import { describeRefusals, describeWithoutGuest } from '../rigs/acrn-without-guest.ts';
import { type RigOptions, riggedAcrnDm } from '../rigs/acrn.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';
import { itBootsARootImage } from './root-image.ts';

const at = {
  acrnDm: process.env['POLYVISOR_ACRN_DM'] ?? '/usr/bin/acrn-dm',
  acrnctl: process.env['POLYVISOR_ACRNCTL'] ?? '/usr/bin/acrnctl',
  rig: '/usr/lib/acrn-hsm-kvm.so',
};
const folder = mkdtempSync(path.join(tmpdir(), 'acrn-'));
afterAll(() => rmSync(folder, { recursive: true }));

const guest = async (options: RigOptions = {}): Promise<VmConfigInput> => ({
  ...(await defaultGuest('bzImage')),
  hypervisorPath: riggedAcrnDm(folder, at, options),
});

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => VmError.from(error).code,
  );

// An acrn-dm that is confined sees the hypervisor's device and not KVM's: the lab has a node by that name which is KVM's.
const confined: RigOptions = { KVM: '/dev/acrn_hsm' };
// It needs root, so that `strict` is refused.
describeHypervisor(acrn, { accel: 'kvm', confinement: 'best', config: () => guest(confined) });

itRunsTheExample('acrn', 'not on this VMM', () => riggedAcrnDm(folder, at, confined));
itBootsARootImage('acrn', '', () => ({ hypervisorPath: riggedAcrnDm(folder, at, confined) }));

describe('acrn: what only a guest can tell', () => {
  const withGuest = async (use: (machine: Machine) => Promise<void>, before?: (machine: Machine) => Promise<void>) =>
    withAcrn(await guest(), async (machine) => {
      await machine.hypervisor.create();
      await before?.(machine);
      await machine.hypervisor.start();
      await use(machine).catch(async (error: unknown) => {
        throw new Error(JSON.stringify(await machine.hypervisor.lastWords()), { cause: error });
      });
    });
  const disk = (id: string, text: string) => {
    const file = path.join(folder, `${id}.img`);
    writeFileSync(file, Buffer.concat([Buffer.from(text), Buffer.alloc(2 ** 20 - text.length)]));
    return { kind: 'block', id, path: file, format: 'raw', readOnly: false } as const;
  };

  it('reads a disk that was there at the start, and one that was swapped in, and writes to it [hotplugAddDevice]', async () => {
    const [cold, hot] = [disk('cold', 'from the start'), disk('hot', 'swapped in')];
    await withGuest(
      async ({ hypervisor, agent }) => {
        const link = await agent();
        const read = async (address: string): Promise<string> => {
          const script = `modprobe virtio_blk; name=$(ls /sys/bus/pci/devices/${address}/virtio*/block); head -c 16 /dev/$name | tr -d '\\0'; echo " $name"`;
          return (await link.agent.exec(['/bin/sh', '-c', script])).stdout;
        };
        expect(await read('0000:00:07.0')).toBe('from the start vda\n');
        const { guestPath = '' } = await hypervisor.hotplugAddDevice(hot);
        expect(guestPath).toBe('0000:00:17.0');
        const answer = await read(guestPath);
        expect(answer).toMatch(/^swapped in vd[a-z]\n$/);
        const name = answer.trim().split(' ').at(-1);
        await link.agent.exec(['/bin/sh', '-c', `printf WRITTEN | dd of=/dev/${name} conv=notrunc,fsync`], {
          check: true,
        });
        expect(readFileSync(hot.path, 'utf8').slice(0, 10)).toBe('WRITTEN in');
        expect(await codeOf(hypervisor.hotplugAddDevice(hot))).toBe('INVALID_ARGUMENT');
        expect(await codeOf(hypervisor.hotplugRemoveDevice(hot))).toBe('UNSUPPORTED');
        await link.close();
      },
      async ({ hypervisor }) => hypervisor.addDevice(cold),
    );
  });

  it('has cards on a tap and on a macvtap, a serial port and a vsock', async () => {
    const ip = (...words: string[]): void => void execFileSync('ip', words);
    ip('tuntap', 'add', 'acrn-tap', 'mode', 'tap');
    ip('link', 'add', 'acrn-v0', 'type', 'veth', 'peer', 'name', 'acrn-v1');
    ip('link', 'add', 'link', 'acrn-v0', 'name', 'acrn-mv', 'address', '02:00:00:00:00:0b', 'type', 'macvtap');
    try {
      await withGuest(
        async ({ agent }) => {
          const link = await agent();
          const script = [
            'cat /sys/class/net/eth*/address',
            'cat /sys/class/virtio-ports/*/name | grep -c "^a.port$"',
            // The number of a vsock among virtio's devices.
            'grep -c 0x0013 /sys/bus/virtio/devices/*/device | grep -c ":1$"',
          ];
          const { stdout } = await link.agent.exec(['/bin/sh', '-c', script.join('; ')]);
          expect(stdout).toBe('02:00:00:00:00:0a\n02:00:00:00:00:0b\n1\n1\n');
          await link.close();
        },
        async ({ hypervisor }) => {
          await hypervisor.addDevice({ kind: 'net', id: 'tap', tap: 'acrn-tap', mac: '02:00:00:00:00:0a' });
          await hypervisor.addDevice({ kind: 'net', id: 'macvtap', tap: 'acrn-mv', tapType: 'macvtap' });
          await hypervisor.addDevice({ kind: 'serial-port', id: 'port', name: 'a.port' });
          await hypervisor.addDevice({ kind: 'vsock', id: 'vsock', contextId: 42 });
        },
      );
    } finally {
      for (const name of ['acrn-mv', 'acrn-v0', 'acrn-tap']) ip('link', 'delete', name);
    }
  });

  it('gets megabytes through the channel whole, while the host is busy with something else', async () =>
    withGuest(async ({ agent }) => {
      const link = await agent();
      const script =
        'i=0; while [ $i -lt 40000 ]; do echo "line $i of forty thousand, each a little different"; i=$((i+1)); done';
      const exec = link.agent.exec(['/bin/sh', '-c', script], { maxOutputBytes: 8 * 2 ** 20 });
      // The event loop stands still, time and again.
      const busy = setInterval(() => {
        const end = performance.now() + 300;
        while (performance.now() < end);
      }, 400);
      const { stdout } = await exec;
      clearInterval(busy);
      const lines = stdout.trimEnd().split('\n');
      expect(lines).toHaveLength(40_000);
      expect(lines.findIndex((line, index) => !line.startsWith(`line ${index} of`))).toBe(-1);
      await link.close();
    }));

  it('gets a kernel line of the greatest length whole', async () => {
    const input = await guest();
    const withFiller = (size: number): VmConfigInput => ({
      ...input,
      kernelParams: [...(input.kernelParams ?? []), { key: 'x', value: 'y'.repeat(size) }],
    });
    let room = 0;
    await withAcrn(withFiller(1), async ({ context }) => {
      const { argv } = acrn.plan(context, '/acrn-dm');
      room = 1024 - (argv[argv.indexOf('-B') + 1] ?? '').length + 1;
    });
    await withAcrn(withFiller(room), async ({ hypervisor, agent }) => {
      await hypervisor.create();
      await hypervisor.start();
      const link = await agent();
      const { stdout } = await link.agent.exec(['cat', '/proc/cmdline']);
      expect(stdout.trimEnd()).toHaveLength(1024);
      expect(stdout).toMatch(/ x=y+ console=hvc0\n$/);
      await link.close();
    });
  });

  it('is typed on by its console', async () =>
    withGuest(async ({ hypervisor, agent }) => {
      const link = await agent();
      const { path: socket } = await hypervisor.console();
      const { connectUnix } = await import('../../src/transports/unix-socket.ts');
      const stream = await connectUnix(socket);
      let text = '';
      const answered = new Promise<void>((resolve) => {
        stream.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          if (text.includes('sum 42')) resolve();
        });
      });
      stream.write('\n');
      stream.write('echo sum $((6*7))\n');
      await answered;
      stream.destroy();
      await link.close();
    }));

  it('is stopped by acrnctl: that is an end like any other', async () =>
    withGuest(async ({ hypervisor, context, agent }) => {
      const link = await agent();
      const name = vmName(context.id);
      const told = (...words: string[]): string => execFileSync(at.acrnctl, words, { encoding: 'utf8' });
      expect(told('list')).toMatch(new RegExp(`^${name}\\s+started$`, 'm'));
      const ended = hypervisor.wait({ timeoutMs: 60_000 });
      told('stop', '-f', name);
      expect(await ended).toMatchObject({ code: 0 });
      await link.close();
      expect(await codeOf(hypervisor.check())).toBe('VMM_GONE');
      expect(await hypervisor.pids()).toEqual([]);
      expect(told('list')).not.toContain(name);
    }));

  it('tells a panic, and ends', async () =>
    withGuest(async ({ hypervisor, agent }) => {
      const link = await agent();
      await link.agent.exec(['/bin/sh', '-c', 'echo c > /proc/sysrq-trigger'], { timeoutMs: 5_000 }).then(
        () => undefined,
        () => undefined,
      );
      await link.close();
      expect(await hypervisor.wait({ timeoutMs: 60_000 })).toMatchObject({ code: 0 });
      expect((await hypervisor.lastWords()).console).toContain('Kernel panic - not syncing');
    }));
});

describeWithoutGuest(at);
for (const backend of ['null', 'kvm'] as const) describeRefusals(at, backend);
