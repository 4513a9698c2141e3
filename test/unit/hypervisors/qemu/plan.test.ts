import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../../src/config/vm-config.ts';
import type { VmContext } from '../../../../src/hypervisors/hypervisor.ts';
import { requirePlugging } from '../../../../src/hypervisors/qemu/devices.ts';
import { qemu } from '../../../../src/hypervisors/qemu/index.ts';
import type { Placed } from '../../../../src/hypervisors/qemu/devices-place.ts';
import { plan, planWith } from '../../../../src/hypervisors/qemu/plan.ts';
import { contextFor } from '../fixture.ts';

const binary = '/usr/bin/qemu-system-x86_64';
const argvOf = (input: VmConfigInput = {}, change: Partial<VmContext> = {}): readonly string[] =>
  plan(contextFor(qemu, input, change), binary).argv;
/** The words after every such option. */
const after = (argv: readonly string[], option: string): (string | undefined)[] =>
  argv.flatMap((word, index) => (word === option ? [argv[index + 1]] : []));

describe('the whole plan', () => {
  it('of a small VM', () => {
    const { argv, ...rest } = plan(contextFor(qemu), binary);
    expect(argv.join('\n').replaceAll(/\n(?!-)/g, ' ')).toMatchInlineSnapshot(`
      "-name paper,debug-threads=on
      -machine q35,usb=off,vmport=off,hpet=off,graphics=off,sata=off,mem-merge=on,dump-guest-core=off
      -accel tcg,thread=multi
      -cpu max,-erms,-fsrm
      -smp cpus=1,maxcpus=8
      -m size=2048M,slots=10,maxmem=16000M
      -global migration.store-global-state=off
      -no-user-config
      -nodefaults
      -display none
      -no-reboot
      -msg timestamp=on
      -rtc base=utc,driftfix=slew,clock=host
      -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
      -chardev socket,id=qmp,path=/run/pv/abcdef012345/qmp.sock,server=on,wait=off
      -mon chardev=qmp,mode=control
      -chardev pipe,id=events,path=/run/pv/abcdef012345/ev
      -mon chardev=events,mode=control
      -chardev socket,id=console,path=/run/pv/abcdef012345/console.sock,server=on,wait=off,logfile=/run/pv/abcdef012345/console.log,logappend=on
      -serial chardev:console
      -device {"driver":"pci-bridge","bus":"pcie.0","id":"pci-bridge-0","chassis_nr":1,"shpc":true,"addr":"2"}
      -device {"driver":"virtio-serial-pci","id":"serial0","max_ports":9}
      -chardev socket,id=charch0,path=/run/pv/abcdef012345/agent0.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch0","id":"channel0","name":"agent.channel.0"}
      -chardev socket,id=charch1,path=/run/pv/abcdef012345/agent1.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch1","id":"channel1","name":"agent.channel.1"}
      -chardev socket,id=charch2,path=/run/pv/abcdef012345/agent2.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch2","id":"channel2","name":"agent.channel.2"}
      -chardev socket,id=charch3,path=/run/pv/abcdef012345/agent3.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch3","id":"channel3","name":"agent.channel.3"}
      -chardev socket,id=charch4,path=/run/pv/abcdef012345/agent4.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch4","id":"channel4","name":"agent.channel.4"}
      -chardev socket,id=charch5,path=/run/pv/abcdef012345/agent5.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch5","id":"channel5","name":"agent.channel.5"}
      -chardev socket,id=charch6,path=/run/pv/abcdef012345/agent6.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch6","id":"channel6","name":"agent.channel.6"}
      -chardev socket,id=charch7,path=/run/pv/abcdef012345/agent7.sock,server=on,wait=off
      -device {"driver":"virtserialport","chardev":"charch7","id":"channel7","name":"agent.channel.7"}
      -object {"qom-type":"rng-random","id":"rng0","filename":"/dev/urandom"}
      -device {"driver":"virtio-rng-pci","rng":"rng0","id":"rng"}
      -device {"driver":"vmgenid","id":"genid0","guid":"e676acc5-7fa4-96a0-aee4-e5ca101d50cc"}
      -kernel /boot/vmlinuz
      -initrd /boot/initrd.img
      -append console=ttyS0 reboot=t panic=-1 nr_cpus=8 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 random.trust_cpu=on cryptomgr.notests net.ifnames=0 quiet"
    `);
    expect(rest).toMatchInlineSnapshot(`
      {
        "binary": "/usr/bin/qemu-system-x86_64",
        "env": {},
        "files": [
          {
            "content": "{"execute":"qmp_capabilities"}
      ",
            "mode": 384,
            "path": "/run/pv/abcdef012345/ev.in",
          },
          {
            "content": "",
            "mode": 384,
            "path": "/run/pv/abcdef012345/ev.out",
          },
          {
            "content": "",
            "mode": 384,
            "path": "/run/pv/abcdef012345/console.log",
          },
        ],
        "largestFileBytes": 0,
        "lockMemory": false,
        "networkNamespace": undefined,
        "paths": [
          {
            "access": "read",
            "path": "/boot/vmlinuz",
          },
          {
            "access": "read",
            "path": "/boot/initrd.img",
          },
          {
            "access": "read",
            "path": "/dev/urandom",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/qemu",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/seabios",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/ipxe",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/qboot",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/ovmf",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/OVMF",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/AAVMF",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/edk2",
          },
          {
            "access": "read",
            "optional": true,
            "path": "/usr/share/qemu-efi-aarch64",
          },
        ],
        "requests": [],
      }
    `);
  });
});

describe('words that could mean more than they say', () => {
  it('a comma in a path stays in the path', () => {
    const argv = argvOf({}, { runtimeFolder: '/run/a,b' });
    expect(after(argv, '-chardev')[0]).toBe('socket,id=qmp,path=/run/a,,b/qmp.sock,server=on,wait=off');
    // Every comma of the folder is doubled: none begins a new property.
    for (const word of argv) expect(word.replaceAll('a,,b', '')).not.toContain('a,b');
  });

  it('paths of kernel, initrd and firmware are words of their own', () => {
    const argv = argvOf({ kernel: '/k,readonly=on', initrd: '/i,x', firmware: '/f,y' });
    expect([after(argv, '-kernel'), after(argv, '-initrd'), after(argv, '-bios')]).toEqual([
      ['/k,readonly=on'],
      ['/i,x'],
      ['/f,y'],
    ]);
  });

  it('devices and objects are JSON', () => {
    const argv = argvOf({ memPrealloc: true, entropySource: '/dev/ran,dom' });
    for (const word of [...after(argv, '-device'), ...after(argv, '-object')])
      expect(() => JSON.parse(word ?? '') as unknown).not.toThrow();
    expect(after(argv, '-object').join()).toContain('"/dev/ran,dom"');
  });
});

describe('what the configuration decides', () => {
  it('the accelerator, and with it the CPU', () => {
    expect([after(argvOf(), '-accel'), after(argvOf(), '-cpu')]).toEqual([['tcg,thread=multi'], ['max,-erms,-fsrm']]);
    const kvm = argvOf({}, { accel: 'kvm' });
    expect([after(kvm, '-accel'), after(kvm, '-cpu')]).toEqual([['kvm'], ['host']]);
  });

  it('a CPU model and features', () => {
    expect(after(argvOf({ cpuModel: 'Skylake-Client', cpuFeatures: ['-hle', '+avx'] }), '-cpu')).toEqual([
      'Skylake-Client,-hle,+avx',
    ]);
  });

  it('vCPUs and memory', () => {
    const argv = argvOf({ vcpus: 2, maxVcpus: 4, memoryMiB: 300, memorySlots: 3, memoryOffsetMiB: 100 });
    expect(after(argv, '-smp')).toEqual(['cpus=2,maxcpus=4']);
    expect(after(argv, '-m')).toEqual(['size=300M,slots=3,maxmem=16100M']);
    expect(after(argv, '-append')[0]).toContain('nr_cpus=4');
  });

  it('huge pages, and memory given at once', () => {
    expect(argvOf().join(' ')).not.toContain('memory-backend');
    const huge = argvOf({ hugePages: true, memoryMiB: 64 });
    expect(after(huge, '-object').map((word) => JSON.parse(word ?? '') as object)[0]).toEqual({
      'qom-type': 'memory-backend-file',
      id: 'pc.ram',
      size: 64 * 2 ** 20,
      prealloc: false,
      'mem-path': '/dev/hugepages',
      share: true,
    });
    expect(after(huge, '-machine')[1]).toBe('memory-backend=pc.ram');
    const prealloc = after(argvOf({ memPrealloc: true, memoryMiB: 64 }), '-object')[0];
    expect(JSON.parse(prealloc ?? '')).toMatchObject({ 'qom-type': 'memory-backend-ram', prealloc: true });
  });

  it('bridges, and the machine type', () => {
    const bridges = (input: VmConfigInput): number =>
      after(argvOf(input), '-device').filter((word) => word?.includes('pci-bridge')).length;
    expect([bridges({}), bridges({ defaultBridges: 0 }), bridges({ defaultBridges: 3 })]).toEqual([1, 0, 3]);
    expect(after(argvOf({ machineType: 'pc' }), '-machine')[0]).toMatch(/^pc,(?!.*sata)/);
    expect(after(argvOf({ machineAccelerators: ['nvdimm=on'] }), '-machine')[0]).toMatch(/^q35,.*,nvdimm=on$/);
    const microvm = argvOf({ machineType: 'microvm', defaultBridges: 0 });
    expect(after(microvm, '-device').join()).toContain('virtio-serial-device');
    expect(microvm.join()).not.toContain('virtio-serial-pci');
  });

  it('a guest of arm64: its machine, its CPU, its console, and root ports for what is plugged', () => {
    const argv = argvOf({ arch: 'arm64' });
    expect(after(argv, '-machine')[0]).toMatch(/^virt,usb=off,gic-version=max,/);
    expect(after(argv, '-cpu')).toEqual(['max,pauth-impdef=on']);
    expect(after(argv, '-append')[0]).toMatch(/^console=ttyAMA0 (?!.*(reboot=t|tsc|no_timer_check))/);
    const devices = after(argv, '-device').map((word) => JSON.parse(word ?? '') as { driver: string; addr?: string });
    expect(devices.filter(({ driver }) => driver === 'pcie-root-port').map(({ addr }) => addr)).toEqual([
      ...['8', '9', 'a', 'b', 'c', 'd', 'e', 'f'],
    ]);
    expect(devices.map(({ driver }) => driver)).not.toContain('vmgenid');
    const [shared] = after(argvOf({ arch: 'arm64', memPrealloc: true }), '-object');
    expect(JSON.parse(shared ?? '')).toMatchObject({ id: 'mach-virt.ram' });
  });

  it.each([
    ['microvm', 'block', false, /has no hot-plug/],
    ['virt', 'cpu', false, /as many vCPUs as it starts with/],
    ['virt', 'memory', false, /no memory modules/],
    ['virt', 'memory', true, undefined],
    ['virt', 'block', false, undefined],
    ['q35', 'cpu', false, undefined],
  ] as const)('what can be plugged: on %s a %s (virtio-mem: %s)', (machineType, kind, virtioMem, refused) => {
    const { config } = contextFor(qemu, { machineType, virtioMem });
    const ask = (): void => requirePlugging(config, 'resize', kind);
    if (refused === undefined) expect(ask).not.toThrow();
    else expect(ask).toThrow(refused);
  });

  it('a generation id of its own for each VM, on machines that have one', () => {
    const guid = (input: VmConfigInput, id: string): string | undefined =>
      after(argvOf(input, { id }), '-device')
        .map((word) => JSON.parse(word ?? '') as { driver: string; guid?: string })
        .find(({ driver }) => driver === 'vmgenid')?.guid;
    expect(guid({}, 'aaaaaaaaaaaa')).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(guid({}, 'aaaaaaaaaaaa')).toBe(guid({ machineType: 'pc' }, 'aaaaaaaaaaaa'));
    expect(guid({}, 'aaaaaaaaaaaa')).not.toBe(guid({}, 'bbbbbbbbbbbb'));
    expect(guid({ machineType: 'microvm' }, 'aaaaaaaaaaaa')).toBeUndefined();
  });

  it("the user's kernel parameters come last and stand for ours of the same name", () => {
    const [line = ''] = after(
      argvOf({
        kernelParams: [
          { key: 'panic', value: '5' },
          { key: 'single', value: '' },
        ],
      }),
      '-append',
    );
    expect(line).toMatch(/^console=ttyS0 (?!.*panic=-1).* panic=5 single$/);
    expect(after(argvOf(), '-append')[0]).toMatch(/ quiet$/);
    expect(after(argvOf({ debug: true }), '-append')[0]).toMatch(/ debug$/);
  });

  it('parameters for QEMU come last of all, so that they win', () => {
    const argv = argvOf({
      hypervisorParams: [
        { key: '-overcommit', value: 'mem-lock=on' },
        { key: '-S', value: '' },
      ],
    });
    expect(argv.slice(-2)).not.toContain('-append');
    expect(argv.join(' ')).toMatch(/ -overcommit ?mem-lock=on -S$/);
  });

  it('the network namespace is told, for whoever starts it', () => {
    const { networkNamespace } = plan(contextFor(qemu, {}, { networkNamespace: '/run/netns/a b' }), binary);
    expect(networkNamespace).toBe('/run/netns/a b');
  });

  it('a confined QEMU is shown what it opens', () => {
    const paths = plan(contextFor(qemu, { firmware: '/f/bios', pflash: ['/f/code', '/f/vars'] }), '/opt/q/bin/q').paths;
    const told = paths.map(({ path, access, optional }) => `${access}${optional === true ? '?' : ''} ${path}`);
    expect(told.slice(0, 7)).toEqual([
      'read /boot/vmlinuz',
      'read /boot/initrd.img',
      'read /f/bios',
      'read /f/code',
      'write /f/vars',
      'read /dev/urandom',
      'read? /opt/q/share/qemu',
    ]);
  });
});

describe('a macvtap at the start', () => {
  const card = (id: string, queues: number): Placed => ({
    device: { kind: 'net', id, tap: id, tapType: 'macvtap', queues, vhost: false, mac: '02:00:00:00:00:01' },
    place: { bus: 'pci-bridge-0', slot: 1 },
    node: `/dev/${id}`,
  });

  it('is opened by others, a file for each queue', () => {
    const { argv, descriptors, paths } = planWith(contextFor(qemu), binary, [card('one', 1), card('three', 3)]);
    expect(after(argv, '-netdev')).toEqual(['tap,id=net-one,fd=3,vhost=off', 'tap,id=net-three,fds=4:5:7,vhost=off']);
    expect(descriptors?.map(({ path, number }) => `${number} ${path}`)).toEqual([
      '3 /dev/one',
      '4 /dev/three',
      '5 /dev/three',
      '7 /dev/three',
    ]);
    expect(paths.map(({ path }) => path)).not.toContain('/dev/net/tun');
  });

  it('is refused where the numbers are at their end', () => {
    expect(() => planWith(contextFor(qemu), binary, [card('one', 4), card('two', 3)])).toThrow(/BUSY.* 6 queues/);
  });
});

it('is a pure function that changes nothing of what it is given', () => {
  const context = contextFor(qemu, { kernelParams: [{ key: 'a', value: 'b' }] });
  const before = structuredClone(context);
  expect(plan(context, binary)).toEqual(plan(context, binary));
  expect(context).toEqual(before);
});
