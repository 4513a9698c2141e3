import { describe, expect, it } from 'vitest';
import type { HypervisorType } from '../../../src/config/hypervisor-type.ts';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import type { HypervisorModule } from '../../../src/hypervisors/hypervisor.ts';
import { driverTypes, loadDriver } from '../../../src/hypervisors/registry.ts';
import { completeConfig } from '../../../src/config/complete.ts';
import { contextFor, host } from './fixture.ts';

/** The same VM, as each VMM is told of it: what must be in its plan, as a pattern over everything in it, or why it is refused. */
interface Row {
  what: string;
  input: VmConfigInput;
  network?: string;
  expected: Readonly<Record<HypervisorType, RegExp | { refused: RegExp }>>;
}

const rows: readonly Row[] = [
  {
    what: 'a VM of defaults',
    input: {},
    expected: {
      qemu: /-smp cpus=1,.*-m size=2048M,/,
      firecracker: /"vcpu_count":1,"mem_size_mib":2048,/,
      clh: /"boot_vcpus":1,.*"memory":\{"size":2147483648,/,
      acrn: / -m 2048M --cpu_affinity \d+ /,
      mock: /"vcpus":1,"memoryMiB":2048/,
    },
  },
  {
    what: 'vCPUs',
    input: { vcpus: 3 },
    expected: {
      qemu: /-smp cpus=3,maxcpus=8 /,
      firecracker: /"vcpu_count":3,/,
      clh: /"boot_vcpus":3,"max_vcpus":8,/,
      acrn: / --cpu_affinity \d+,\d+,\d+ /,
      mock: /"vcpus":3,/,
    },
  },
  {
    what: 'vCPUs that can be plugged later',
    input: { vcpus: 3, maxVcpus: 4 },
    expected: {
      qemu: /-smp cpus=3,maxcpus=4 /,
      firecracker: { refused: /firecracker has no use for maxVcpus/ },
      clh: /"boot_vcpus":3,"max_vcpus":4,/,
      acrn: { refused: /acrn has no use for maxVcpus/ },
      mock: /"vcpus":3,/,
    },
  },
  {
    what: 'memory',
    input: { memoryMiB: 334 },
    expected: {
      qemu: /-m size=334M,/,
      firecracker: /"mem_size_mib":334,/,
      clh: /"memory":\{"size":350224384,/,
      acrn: / -m 334M /,
      mock: /"memoryMiB":334,/,
    },
  },
  {
    what: 'memory of an odd size',
    input: { memoryMiB: 333 },
    expected: {
      qemu: /-m size=333M,/,
      firecracker: /"mem_size_mib":333,/,
      clh: /"memory":\{"size":349175808,/,
      acrn: { refused: /must be even/ },
      mock: /"memoryMiB":333,/,
    },
  },
  {
    what: 'agent channels',
    input: {},
    expected: {
      qemu: /agent7\.sock/,
      firecracker: /"\/vsock","body":\{"guest_cid":3,/,
      clh: /"vsock":\{"cid":3,/,
      acrn: /agent7\.sock/,
      mock: /--channels 8\b/,
    },
  },
  {
    what: 'a network namespace',
    input: {},
    network: '/run/netns/blue',
    expected: {
      qemu: /^\/run\/netns\/blue \/bin\/vmm -name/,
      firecracker: /^\/run\/netns\/blue \/bin\/vmm --id/,
      clh: /^\/run\/netns\/blue \/bin\/vmm --api-socket/,
      acrn: /^\/run\/netns\/blue \/bin\/vmm -m/,
      mock: /^\/run\/netns\/blue \/bin\/vmm --host/,
    },
  },
];

/** What a VMM is told, as one text. */
function told(module: HypervisorModule, { input, network }: Row): string {
  const context = contextFor(module, input, { networkNamespace: network });
  const { binary, argv, files, requests, networkNamespace } = module.plan(context, '/bin/vmm');
  const contents = files.map(({ content }) => content);
  const asked = requests.map((one) => JSON.stringify(one));
  return [...(networkNamespace === undefined ? [] : [networkNamespace]), binary, ...argv, ...contents, ...asked].join(
    ' ',
  );
}

/** Where each guest finds the root image that its boot initrd is to mount. */
const rootImages: Readonly<Record<HypervisorType, RegExp>> = {
  qemu: /"read-only":true,.*"filename":"\/images\/root",.*"driver":"virtio-blk-pci","id":"rootfs",.*polyvisor\.root=\/dev\/vda .*polyvisor\.rootfstype=erofs/,
  firecracker:
    /polyvisor\.root=\/dev\/vda .*polyvisor\.rootfstype=erofs.*"drive_id":"rootfs","is_root_device":false,"is_read_only":true/,
  clh: /polyvisor\.root=\/dev\/pmem0 .*polyvisor\.rootfstype=erofs.*"pmem":\[\{"id":"rootfs","file":"\/images\/root","discard_writes":true/,
  acrn: /virtio-blk,\/images\/root,ro .*-r \/guest\/initrd .*polyvisor\.root=\/dev\/vda .*polyvisor\.rootfstype=erofs/,
  mock: / --root \/state\/vms\/paper\/root /,
};

describe.each(driverTypes())('%s', (type) => {
  it('shows a root image behind our own initrd', async () => {
    const module = await loadDriver(type);
    const kernelParams = [{ key: 'polyvisor.rootfstype', value: 'erofs' }];
    const ours = { kernel: '/guest/kernel', initrd: '/guest/initrd', kernelParams };
    const guest = module.bootsGuest ? ours : undefined;
    const config = completeConfig({ image: '/images/root' }, { fields: module.fields, host }, guest);
    const { argv, files, requests, paths } = module.plan({ ...contextFor(module), config }, '/bin/vmm');
    expect(`${argv.join(' ')} ${JSON.stringify([files, requests])} `).toMatch(rootImages[type]);
    const shown = module.bootsGuest ? [expect.objectContaining({ path: '/images/root', access: 'read' })] : [];
    expect(paths).toEqual(expect.arrayContaining(shown));
  });

  it.each(rows)('is told of $what, or refuses it', async (row) => {
    const module = await loadDriver(type);
    const expected = row.expected[type];
    if (expected instanceof RegExp) expect(told(module, row)).toMatch(expected);
    else expect(() => told(module, row)).toThrow(expected.refused);
  });

  it('writes only into its own folder, for itself alone, and gets no environment of ours', async () => {
    const module = await loadDriver(type);
    const context = contextFor(module);
    const { files, env } = module.plan(context, '/bin/vmm');
    for (const { path, mode } of files) {
      expect(path.startsWith(`${context.runtimeFolder}/`)).toBe(true);
      expect(mode & 0o077).toBe(0);
    }
    // ACRN's device model looks for tools in its PATH, and makes its tables where it is told.
    const own = type === 'acrn' ? { ACPI_TMPDIR: context.runtimeFolder, PATH: expect.any(String) as string } : {};
    expect(env).toEqual(own);
  });

  it('is plain data, the same each time', async () => {
    const module = await loadDriver(type);
    const context = contextFor(module);
    expect(JSON.parse(JSON.stringify(module.plan(context, '/bin/vmm')))).toEqual(module.plan(context, '/bin/vmm'));
  });
});
