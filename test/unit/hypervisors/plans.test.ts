import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import { driverTypes, loadDriver } from '../../../src/hypervisors/registry.ts';
import { contextFor } from './fixture.ts';

/** The same VM, as each VMM is told of it: what must be in its plan, as a pattern over everything in it. */
interface Row {
  what: string;
  input: VmConfigInput;
  network?: string;
  expected: Readonly<Record<'qemu' | 'mock', RegExp>>;
}

const rows: readonly Row[] = [
  {
    what: 'a VM of defaults',
    input: {},
    expected: { qemu: /size=2048M.*cpus=1,|cpus=1,.*size=2048M/, mock: /"vcpus":1,"memoryMiB":2048/ },
  },
  { what: 'vCPUs', input: { vcpus: 3, maxVcpus: 4 }, expected: { qemu: /-smp cpus=3,maxcpus=4 /, mock: /"vcpus":3,/ } },
  { what: 'memory', input: { memoryMiB: 333 }, expected: { qemu: /-m size=333M,/, mock: /"memoryMiB":333,/ } },
  { what: 'agent channels', input: {}, expected: { qemu: /agent7\.sock/, mock: /--channels 8\b/ } },
  {
    what: 'a network namespace',
    input: {},
    network: '/run/netns/blue',
    expected: {
      qemu: /^nsenter --net=\/run\/netns\/blue -- \/bin\/vmm -name/,
      mock: /^nsenter --net=\/run\/netns\/blue -- \/bin\/vmm --host/,
    },
  },
];

describe.each(driverTypes())('%s', (type) => {
  it.each(rows)('is told of $what', async ({ input, network, expected }) => {
    const module = await loadDriver(type);
    const { binary, argv, files, requests } = module.plan(
      contextFor(module, input, { networkNamespace: network }),
      '/bin/vmm',
    );
    const all = [
      binary,
      ...argv,
      ...files.map(({ content }) => content),
      ...requests.map((one) => JSON.stringify(one)),
    ].join(' ');
    expect(all).toMatch(expected[type as 'qemu' | 'mock'] ?? /a new driver needs its column here/);
  });

  it('writes only into its own folder, for itself alone, and gets no environment of ours', async () => {
    const module = await loadDriver(type);
    const context = contextFor(module);
    const { files, env } = module.plan(context, '/bin/vmm');
    for (const { path, mode } of files) {
      expect(path.startsWith(`${context.runtimeFolder}/`)).toBe(true);
      expect(mode & 0o077).toBe(0);
    }
    expect(env).toEqual({});
  });

  it('is plain data, the same each time', async () => {
    const module = await loadDriver(type);
    const context = contextFor(module);
    expect(JSON.parse(JSON.stringify(module.plan(context, '/bin/vmm')))).toEqual(module.plan(context, '/bin/vmm'));
  });
});
