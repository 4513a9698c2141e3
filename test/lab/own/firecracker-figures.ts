import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { firecracker } from '../../../src/hypervisors/firecracker/index.ts';
import { vmFiles } from '../../../src/state/paths.ts';
import { itGivesMemoryBack, itLimitsDisks, withStarted, type WithVm } from '../figures.ts';

/*
 * What Firecracker limits and counts, told by what the guest gets and the host sees.
 */

export function describeFigures(): void {
  const withVm: WithVm = (change, cold, use) => withStarted(firecracker, change, cold, use);

  describe('firecracker: figures', () => {
    itGivesMemoryBack(withVm);
    itLimitsDisks(withVm);

    it('a card counts what it sends, and is as slow as its limit says', async () => {
      for (const name of ['fc-free', 'fc-slow']) {
        execFileSync('ip', ['tuntap', 'add', name, 'mode', 'tap']);
        execFileSync('ip', ['link', 'set', name, 'up']);
      }
      try {
        await withVm(
          {},
          [
            { kind: 'net', id: 'free', tap: 'fc-free' },
            { kind: 'net', id: 'slow', tap: 'fc-slow', rateLimit: { send: { operationsPerSecond: 10 } } },
          ],
          async ({ hypervisor, shell }) => {
            for (const at of [0, 1])
              await shell(
                `ip link set eth${at} up; ip addr add 10.8.${at}.1/24 dev eth${at}; arp -s 10.8.${at}.2 02:00:00:00:00:01`,
              );
            // Nobody answers; each is forty frames.
            for (const at of [0, 1]) await shell(`ping -c 3 -s 58000 -W 1 10.8.${at}.2 >/dev/null || true`);
            const { networks = [] } = await hypervisor.statistics();
            const sent = Object.fromEntries(networks.map(({ id, sentPackets }) => [id, sentPackets]));
            expect(sent['free']).toBeGreaterThanOrEqual(120);
            expect(sent['slow']).toBeGreaterThan(0);
            expect(sent['slow']).toBeLessThan(80);
          },
        );
      } finally {
        for (const name of ['fc-free', 'fc-slow']) execFileSync('ip', ['link', 'delete', name]);
      }
    });

    it('entropy comes from the host', () =>
      withVm({}, [], async ({ shell }) => {
        // Its driver is loaded when the guest has run for a second.
        await shell('until grep -q virtio /sys/class/misc/hw_random/rng_current; do sleep 0.1; done');
        expect(await shell('cat /sys/class/misc/hw_random/rng_current; head -c 16 /dev/hwrng | wc -c')).toBe(
          'virtio_rng.0\n16',
        );
      }));

    it('what it logs is in the log of its VMM', () =>
      withVm({ debug: true }, [], async ({ hypervisor, context }) => {
        await hypervisor.pause();
        await hypervisor.resume();
        const log = readFileSync(vmFiles.vmmLog(context.stateFolder), 'utf8');
        expect(log).toMatch(/:(INFO|DEBUG)\] .*(PATCH|vm)/);
      }));
  });
}
