import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import type { KataConfig } from '../../../src/kata/load.ts';
import { host, rejection, usesAll } from '../config/fixture.ts';
import { fixture, load, loadQemu, temporaryFolder, written } from './fixture.ts';

function entry(config: KataConfig, key: string): unknown {
  const found = config.report.find((it) => it.key === key);
  const { file: _, line: __, key: ___, ...rest } = found ?? { key: 'none' };
  return rest;
}

describe('a file of Kata 1.x', () => {
  it('becomes options', async () => {
    const { options, factory } = await load(fixture('one.toml'));
    expect(options).toEqual({
      hypervisor: 'qemu',
      hypervisorPath: '/usr/bin/qemu-system-x86_64',
      kernel: '/nowhere/vmlinux',
      initrd: '/nowhere/initrd',
      machineType: 'q35',
      kernelParams: [
        { key: 'quiet', value: '' },
        { key: 'root', value: '/dev/vda' },
        { key: 'nomodule', value: '' },
      ],
      machineAccelerators: ['smm=off', 'hpet=off'],
      cpuFeatures: ['pmu=off'],
      vcpus: 4,
      maxVcpus: 4,
      memoryMiB: 1024,
      defaultBridges: 5,
      msize9pBytes: 16384,
      sharedFs: 'virtio-9p',
      iommu: false,
      entropySource: '/dev/urandom',
      hypervisorPathList: ['/usr/bin/qemu*'],
      enableAnnotations: ['default_.*', 'kernel_params'],
    });
    expect(factory).toEqual({
      template: true,
      templatePath: '/run/vc/vm/template',
      cacheNumber: 2,
      cacheEndpoint: '/var/run/kata-containers/cache.sock',
    });
  });

  it('has each of its keys accounted for, with its line', async () => {
    const config = await load(fixture('one.toml'));
    const lines = readFileSync(fixture('one.toml'), 'utf8').split('\n');
    const keys = lines.flatMap((text, at) => (/^\w+ *=/.test(text) ? [at + 1] : []));
    expect(config.report.map(({ line }) => line)).toEqual(keys);
    expect(new Set(config.report.map(({ file }) => file))).toEqual(new Set([fixture('one.toml')]));
    expect(entry(config, 'hypervisor.qemu.default_vcpus')).toMatchObject({ outcome: 'taken', field: 'vcpus' });
    expect(entry(config, 'hypervisor.qemu.memory_slots')).toEqual({
      outcome: 'taken',
      field: 'memorySlots',
      reason: 'the default',
    });
    expect(entry(config, 'hypervisor.qemu.virtio_fs_cache')).toEqual({
      outcome: 'no-meaning',
      reason: 'it does nothing without sharedFs virtio-fs',
    });
    expect(entry(config, 'hypervisor.qemu.enable_swap')).toMatchObject({ outcome: 'no-meaning' });
    expect(entry(config, 'hypervisor.qemu.use_legacy_serial')).toMatchObject({ outcome: 'no-meaning' });
    expect(entry(config, 'hypervisor.qemu.memory_solts')).toEqual({
      outcome: 'unsupported',
      reason: 'polyvisor knows no such key; did you mean memory_slots?',
    });
    expect(entry(config, 'proxy.kata.path')).toMatchObject({ outcome: 'no-meaning' });
    expect(entry(config, 'factory.enable_template')).toEqual({ outcome: 'taken', field: 'factory.template' });
    expect(entry(config, 'factory.template_pth')).toMatchObject({ outcome: 'unsupported' });
    expect(entry(config, 'metrics.port')).toEqual({ outcome: 'unsupported', reason: 'Kata has no such section' });
  });

  it('knows where each option comes from', async () => {
    const { origins } = await load(fixture('one.toml'));
    expect(origins.get('memoryMiB')).toEqual({
      kind: 'file',
      file: fixture('one.toml'),
      line: 12,
      key: 'hypervisor.qemu.default_memory',
    });
    expect(origins.has('memorySlots')).toBe(false);
  });

  it('warns of files that are not there, and of what would keep a VM from starting', async () => {
    const { warnings } = await load(fixture('one.toml'), { host: { ...host, memoryMiB: 600 } });
    const file = fixture('one.toml');
    expect(warnings.map(({ message }) => message)).toEqual([
      `${file}:4: kernel: there is no /nowhere/vmlinux`,
      `${file}:5: initrd: there is no /nowhere/initrd`,
      expect.stringContaining(`${file}:12: a VM can't be made of this: memoryMiB is 1024`),
    ]);
  });
});

describe("a file of today's Kata", () => {
  it('becomes options, with the defaults of today', async () => {
    const { options, report } = await load(fixture('today.toml'));
    expect(options).toEqual({
      hypervisor: 'clh',
      hypervisorPath: '/usr/bin/cloud-hypervisor',
      kernel: '/nowhere/vmlinux',
      image: '/nowhere/image',
      vcpus: 2,
      memoryMiB: 2048,
      virtioFsDaemon: '/usr/libexec/virtiofsd',
      virtioFsCache: 'never',
      blockDeviceDriver: 'virtio-blk',
      sharedFs: 'virtio-fs',
    });
    const by = (outcome: string): string[] =>
      report.filter((it) => it.outcome === outcome).map(({ key }) => key.replace('hypervisor.clh.', ''));
    expect(by('unsupported')).toEqual([
      'rootfs_type',
      'disk_rate_limiter_bw_max_rate',
      'guest_extension_images.0.name',
      'guest_extension_images.0.path',
      'runtime.enable_vcpus_pinning',
    ]);
    expect(by('no-meaning')).toEqual([
      'rootless',
      'numa_mapping',
      'agent.kata.dial_timeout',
      'agent.kata.mem_agent.memcg_disable',
    ]);
  });

  it('names the nodes of its guest when NUMA is on', async () => {
    const { options } = await loadQemu('virtio_fs_daemon = "/d"\nenable_numa = true\nnuma_mapping = ["0", "1-2"]');
    expect(options.numaMapping).toEqual(['0', '1-2']);
  });
});

describe('drop-in files', () => {
  const main = fixture('with-drop-ins/configuration.toml');

  it('are read in the order of their names, and win key by key', async () => {
    const { options, dropIns, report, origins } = await load(main);
    expect(dropIns.map((file) => path.basename(file))).toEqual(['10-more', '20-most.toml']);
    expect(options).toMatchObject({ memoryMiB: 1024, vcpus: 1, enableAnnotations: ['b', 'c'] });
    expect(origins.get('memoryMiB')).toMatchObject({ file: dropIns[1], line: 1 });
    const overridden = report.filter(({ outcome }) => outcome === 'overridden');
    expect(overridden.map(({ line, key, reason }) => [line, key, reason])).toEqual([
      [4, 'hypervisor.qemu.default_memory', `by ${dropIns[0]}:2`],
      [6, 'hypervisor.qemu.enable_annotations', `by ${dropIns[0]}:3`],
      [9, 'hypervisor.qemu.guest_extension_images.0.name', `by ${dropIns[1]}:5`],
      [2, 'hypervisor.qemu.default_memory', `by ${dropIns[1]}:1`],
    ]);
  });

  it('can be left out', async () => {
    const { options, dropIns } = await load(main, { dropIns: false });
    expect(options.memoryMiB).toBe(512);
    expect(dropIns).toEqual([]);
  });
});

describe('clamping', () => {
  const one = async (line: string): Promise<VmConfigInput> => (await loadQemu(line)).options;

  it.each([
    ['default_vcpus = 0', 'vcpus', undefined],
    ['default_vcpus = 3', 'vcpus', 3],
    ['default_vcpus = 5', 'vcpus', 4],
    ['default_maxvcpus = 2', 'maxVcpus', 2],
    ['default_maxvcpus = 900', 'maxVcpus', 4],
    ['default_memory = 0', 'memoryMiB', undefined],
    ['default_memory = 128', 'memoryMiB', 128],
    ['default_bridges = 0', 'defaultBridges', undefined],
    ['default_bridges = 5', 'defaultBridges', 5],
    ['memory_offset = 0', 'memoryOffsetMiB', undefined],
    ['pcie_root_port = 0', 'pcieRootPorts', undefined],
    ['firmware = ""', 'firmware', undefined],
    ['pflashes = []', 'pflash', undefined],
    ['kernel_params = ""', 'kernelParams', undefined],
    ['shared_fs = "none"', 'sharedFs', undefined],
    ['machine_type = "microvm"', 'disableImageNvdimm', true],
  ] as const)('%s', async (line, field, value) => {
    expect((await one(line))[field]).toEqual(value);
  });

  it("fills in Kata's defaults, of the version that the file is for", async () => {
    expect(await one('')).toMatchObject({ machineType: 'pc', hypervisorPath: '/usr/bin/qemu-lite-system-x86_64' });
    const today = await loadQemu('virtio_fs_daemon = "/d"\nrootless = false');
    expect(today.options).toMatchObject({ machineType: 'q35', sharedFs: 'virtio-fs' });
    expect(today.origins.get('machineType')).toEqual({ kind: 'default', of: 'Kata' });
  });
});

describe('what Kata refuses', () => {
  it.each([
    ['default_memory = "2G"', 4, 'hypervisor.qemu.default_memory: it is "2G", allowed is a whole number'],
    ['default_memory = -1', 4, 'hypervisor.qemu.default_memory: it is -1, allowed is a whole number'],
    ['default_memory = 99999999999', 4, 'allowed is a whole number from 0 to 4294967295'],
    ['default_vcpus = nan', 4, 'allowed is a number of vCPUs'],
    ['enable_iommu = 1', 4, 'it is 1, allowed is true or false'],
    ['\npath = 1979-05-27', 5, 'it is 1979-05-27, allowed is text'],
    ['pflashes = ["/a", 1]', 4, 'it is a list of 2, allowed is a list of texts'],
    ['block_device_driver = "ide"', 4, 'Invalid hypervisor block storage driver ide specified'],
    ['shared_fs = "nfs"', 4, 'Invalid hypervisor shared file system nfs specified'],
    ['shared_fs = "virtio-fs"', 4, 'cannot enable virtio-fs without daemon path in configuration file'],
    ['image = "/x"', 3, 'having both an image and an initrd'],
    ['enable_annotations = ["["]', 4, '[ is no regular expression'],
    ['cpu_features = "a b"', 4, 'cpuFeatures[0] is "a b"'],
    ['[factory]\nvm_cache_number = -1', 5, 'factory.vm_cache_number: it is -1'],
    ['enable_numa = 1\nvirtio_fs_daemon = "/d"', 4, 'allowed is true or false'],
    ['memory_slots = 3\nmemory_slots = 3', 5, 'this is no TOML'],
  ])('%s', async (lines, line, text) => {
    const error = await rejection(loadQemu(lines));
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { line } });
    expect(error.rawMessage).toContain(`configuration.toml:${line}: `);
    expect(error.rawMessage).toContain(text);
  });

  it('tells all that is wrong at once, each with its line', async () => {
    const error = await rejection(loadQemu('default_memory = ""\nenable_debug = 0\nmsize_9p = 1'));
    expect(error.rawMessage.split('\n').map((it) => it.replace(/.*configuration.toml:(\d+).*/, '$1'))).toEqual([
      '4',
      '5',
      '6',
    ]);
  });

  it('an image that is empty, or an initrd larger than the memory', async () => {
    const empty = written('', 'empty');
    await expect(load(written(`[hypervisor.qemu]\nkernel = "/k"\ninitrd = "${empty}"`))).rejects.toThrow(
      `:3: hypervisor.qemu.initrd: image "${empty}" is empty`,
    );
    const large = written('x'.repeat(65 * 1024 * 1024), 'large');
    const lines = `[hypervisor.qemu]\nkernel = "/k"\ndefault_memory = 64\n`;
    await expect(load(written(`${lines}initrd = "${large}"`))).rejects.toThrow('VM memory (64MB) smaller than image');
    const { warnings } = await load(written(`${lines}image = "${large}"`));
    expect(warnings.map(({ message }) => message).join()).toContain('VM memory (64MB) smaller than image');
  });

  it.each([
    ['nothing to boot', '[hypervisor.qemu]\nkernel = "/k"', ':1: hypervisor.qemu: either image or initrd'],
    ['ACRN without an image', '[hypervisor.acrn]\ninitrd = "/i"', 'image must be defined in the configuration file'],
    [
      'a template of an image',
      '[hypervisor.qemu]\nimage = "/i"\n[factory]\nenable_template = true',
      'Factory option enable_template requires an initrd image',
    ],
    [
      'a cache of another VMM',
      '[hypervisor.firecracker]\nimage = "/i"\n[factory]\nvm_cache_number = 1',
      'VM cache just support qemu',
    ],
  ])('%s', async (_, text, message) => {
    const error = await rejection(load(written(text)));
    expect(error.rawMessage).toMatch(/configuration.toml:\d+: /);
    expect(error.rawMessage).toContain(message);
  });

  it('takes no virtual socket where the host has none, or takes it', async () => {
    const { options, report } = await loadQemu('use_vsock = true');
    const taken = report.find(({ key }) => key === 'hypervisor.qemu.use_vsock');
    expect(taken?.outcome).toBe(options.useVsock === true ? 'taken' : 'unsupported');
  });

  it('takes it from a VMM whose vsock is a socket of its own, whatever the host has', async () => {
    const { options } = await load(written('[hypervisor.firecracker]\nkernel = "/k"\nimage = "/i"\nuse_vsock = true'));
    expect(options.useVsock).toBe(true);
  });
});

describe('the section that counts', () => {
  const both =
    '[hypervisor.qemu]\nkernel = "/q"\ninitrd = "/i"\n[hypervisor.clh]\nimage = "/i"\nvirtio_fs_daemon = "/d"\n';

  it('is the one that is asked for', async () => {
    const { options, report } = await load(written(both), { hypervisor: 'cloud-hypervisor' });
    expect(options.hypervisor).toBe('clh');
    expect(report[0]).toMatchObject({ key: 'hypervisor.qemu.kernel', outcome: 'no-meaning' });
  });

  it('is the one that the runtime names', async () => {
    const { options } = await load(written(`${both}[runtime]\nhypervisor_name = "clh"`));
    expect(options.hypervisor).toBe('clh');
  });

  it.each([
    [both, undefined, 'INVALID_CONFIG', ':1: there are several sections: [hypervisor.qemu], [hypervisor.clh]'],
    [both, 'firecracker', 'INVALID_CONFIG', ':1: there is no section for firecracker'],
    ['\n[hypervisor.dragonball]', undefined, 'UNKNOWN_HYPERVISOR', ':2: [hypervisor.dragonball] is for no VMM'],
    ['', undefined, 'INVALID_CONFIG', ':1: there is no section [hypervisor.X]'],
    [both, 'xen', 'UNKNOWN_HYPERVISOR', 'xen'],
  ])('is refused: %#', async (text, hypervisor, code, message) => {
    const error = await rejection(load(written(text), { hypervisor }));
    expect(error.code).toBe(code);
    expect(error.rawMessage).toContain(message);
  });
});

describe('strictly', () => {
  it('what is not taken is an error, each with its line', async () => {
    const error = await rejection(load(fixture('today.toml'), { strict: true }));
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { path: fixture('today.toml'), line: 6 } });
    const lines = error.rawMessage.split('\n');
    expect(lines).toHaveLength(9);
    expect(lines.every((line) => /today\.toml:\d+: \S+: (no meaning|not supported) \(.+\)$/.test(line))).toBe(true);
  });

  it('takes a file of which all is taken', async () => {
    expect((await loadQemu('default_memory = 512', { strict: true })).options.memoryMiB).toBe(512);
  });
});

it('what a VMM has no use for is left out, with the reason', async () => {
  const fields = {
    ...usesAll,
    uses: {},
    unused: { entropySource: 'it takes entropy by itself', image: 'this version does not offer it yet' },
  };
  const lines = 'entropy_source = "/dev/random"\nimage = ""';
  const { options, report } = await loadQemu(lines, { fields });
  expect(options.entropySource).toBeUndefined();
  expect(report.slice(2).map(({ outcome, reason }) => [outcome, reason])).toEqual([
    ['no-meaning', 'it takes entropy by itself'],
    ['unsupported', 'this version does not offer it yet'],
  ]);
});

it('relative paths are from the current folder, as in Kata', async () => {
  const { options } = await loadQemu('firmware = "bios.bin"');
  expect(options.firmware).toBe(path.resolve('bios.bin'));
});

it.each([
  ['a file that is not there', '/nowhere/configuration.toml', 'FILE_NOT_FOUND'],
  ['a folder', '/tmp', 'FILE_INVALID'],
  ['a device without end', '/dev/zero', 'FILE_INVALID'],
])('refuses %s', async (_, file, code) => {
  expect(await rejection(load(file))).toMatchObject({ code });
});

it('refuses a drop-in that is a folder', async () => {
  const folder = temporaryFolder();
  const file = path.join(folder, 'configuration.toml');
  writeFileSync(file, '[hypervisor.qemu]\n');
  const { mkdirSync } = await import('node:fs');
  mkdirSync(path.join(folder, 'config.d', 'more'), { recursive: true });
  expect(await rejection(load(file))).toMatchObject({ code: 'FILE_INVALID' });
});
