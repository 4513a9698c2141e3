import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import ownManifest from '../../package.json' with { type: 'json' };
import { deserializeParams } from '../../src/config/kernel-params.ts';
import { agentBinary } from '../../src/config/package-files.ts';
import { buildDefaultImage } from '../../src/images/build.ts';
import { VmError } from '../../src/errors.ts';
import type { KernelModule } from '../../src/images/modules.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { kernelOf } from './kernel.ts';
import { labModules, modulesIn } from './modules.ts';
import { bundleFolder } from './bundle.ts';
import { packageFolders } from './node-modules.ts';
import type { Cargo } from './programs.ts';

/** Megabytes for the guests inside, and for everything that the lab brings: its files are in its memory. */
const memoryMiB = 6144;

/** The checkout as the lab has it. */
export const labCheckout = '/lab/polyvisor';

/** What of the checkout the tests inside need: what changes from run to run, and what does not. */
const ownParts = ['package.json', 'bin', 'dist', 'examples'];

/** The packages that run in the lab. */
const packages = ['vitest', ...Object.keys(ownManifest.dependencies)];

/** Name of a lab that is kept. */
const keptName = process.env['POLYVISOR_LAB_NAME'] ?? 'polyvisor-lab';

/** What a lab is made of. */
export interface LabOptions {
  cargo: readonly Cargo[];
  /** the VMMs: brought to a kept lab, too */
  vmmCargo: readonly Cargo[];
  /** the bundled tests */
  bundles: string;
  /** use the lab that an earlier run has kept, and keep it: what it has already is not brought again */
  keep: boolean;
  report: (line: string) => void;
}

/** A VM in which KVM works, emulated if need be, with Node, this checkout, the default guest and the given files in it. */
export async function openLab({ cargo, vmmCargo, bundles, keep, report }: LabOptions): Promise<Vm> {
  const image = await buildDefaultImage({ cacheFolder: places().images, agentPath: agentBinary });
  const guest = { from: image.folder, to: path.join('/root/.cache/polyvisor/images', path.basename(image.folder)) };
  const own = [
    ...vmmCargo,
    ...ownParts.map(inCheckout),
    { from: bundles, to: path.join(labCheckout, bundleFolder) },
    guest,
  ];
  const kept = keep ? await connectKept() : undefined;
  if (kept !== undefined) {
    report('using the lab that was kept');
    await kept.exec(['rm', '-rf', ...[...ownParts, bundleFolder].map((part) => inCheckout(part).to)], { check: true });
    await unpack(kept, own, []);
    return kept;
  }
  const suite = process.env['POLYVISOR_LAB_SUITE'];
  const other = suite === undefined ? undefined : await kernelOf(suite);
  report(`booting the lab: a VM with AMD SVM${other === undefined ? '' : ` and Linux ${other.kernel.release}`}`);
  const modules =
    other === undefined ? await labModules(image.manifest.kernelRelease) : await modulesIn(other.kernel.modules);
  const spare = await spareDisk();
  // TCG emulates AMD's virtualization and not Intel's, and only for a model that has it.
  const vm = await Vm.create({
    hypervisor: 'qemu',
    accel: 'tcg',
    vcpus: 2,
    memoryMiB,
    cpuModel: 'EPYC',
    // From 6.8 or so on Linux uses cmpxchg16b in its allocator, after which QEMU 7.2 can hand it wrong flags: it crashes.
    cpuFeatures: ['+svm', '+npt', '-erms', ...(other === undefined ? [] : ['-cx16'])],
    // An emulated CPU that enters an emulated guest is gone for seconds when its host is busy: to the lab's kernel that is a lockup.
    kernelParams: deserializeParams([
      ...(other?.guest.manifest.commandLine ?? []),
      ...['nowatchdog', 'rcupdate.rcu_cpu_stall_suppress=1'],
    ]),
    ...(other === undefined ? {} : { kernel: other.guest.kernel, initrd: other.guest.initrd }),
    startTimeoutMs: 300_000,
    // A disk to be handed on to a guest, behind an IOMMU. It is no device of ours: a jail would not show its file.
    iommu: true,
    confinement: 'off',
    hypervisorParams: [
      { key: '-blockdev', value: JSON.stringify({ driver: 'file', 'node-name': 'spare', filename: spare }) },
      { key: '-device', value: JSON.stringify({ driver: 'nvme', serial: 'spare', drive: 'spare' }) },
      // By default it reaches less than the processor does: Cloud Hypervisor has its guest's devices where the addresses end.
      { key: '-global', value: 'intel-iommu.aw-bits=48' },
    ],
    ...(keep ? { name: keptName, detached: true } : {}),
  }).finally(() => rmSync(path.dirname(spare), { recursive: true }));
  try {
    report('bringing Node, the checkout, the guest and the VMMs into it');
    await unpack(vm, [...cargo, ...own, ...packageFolders(packages).map(inCheckout)], modules);
    await vm.exec(['sh', '-e', '/lab/prepare.sh'], { check: true });
    return vm;
  } catch (error) {
    await vm.remove();
    throw error;
  }
}

/** A file that is removed when QEMU has opened it. */
async function spareDisk(): Promise<string> {
  const file = path.join(await mkdtemp(path.join(tmpdir(), 'polyvisor-lab-')), 'spare');
  await writeFile(file, '');
  await truncate(file, 64 * 2 ** 20);
  return file;
}

async function connectKept(): Promise<Vm | undefined> {
  try {
    return await Vm.connect(keptName);
  } catch (error) {
    if (VmError.from(error).code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function inCheckout(part: string): Cargo {
  return { from: path.resolve(part), to: path.join(labCheckout, part) };
}

/** Sends everything in one go, as a tar stream of links to the real files: the host's tar follows them. */
async function unpack(vm: Vm, cargo: readonly Cargo[], modules: readonly KernelModule[]): Promise<void> {
  const stage = await mkdtemp(path.join(tmpdir(), 'polyvisor-lab-'));
  try {
    for (const { from, to } of cargo) {
      const link = path.join(stage, to);
      await mkdir(path.dirname(link), { recursive: true });
      await rm(link, { force: true });
      await symlink(from, link);
    }
    const moduleFolder = path.join(stage, 'lab', 'modules');
    await mkdir(moduleFolder, { recursive: true });
    for (const { name, content } of modules) await writeFile(path.join(moduleFolder, `${name}.ko`), content);
    await writeFile(path.join(stage, 'lab', 'prepare.sh'), prepareScript(modules.map(({ name }) => name)));
    const tar = spawn('tar', ['--create', '--dereference', '--hard-dereference', '-C', stage, '.'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await vm.exec(['tar', '-x', '-C', '/'], { stdin: tar.stdout, check: true });
    if (tar.exitCode === null) await once(tar, 'exit');
    if (tar.exitCode !== 0) throw new Error(`tar ended with ${tar.exitCode}`);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** Loads the modules, which fails for those that are in already, and makes what a Linux host has. */
function prepareScript(modules: readonly string[]): string {
  return [
    ...modules.map((name) => `grep -q '^${name} ' /proc/modules || insmod /lab/modules/${name}.ko`),
    'mkdir -p /tmp /run /var/log /dev/hugepages /dev/shm',
    'chmod 1777 /tmp',
    'mountpoint -q /dev/hugepages || mount -t hugetlbfs none /dev/hugepages',
    'ip link set lo up',
    'test -c /dev/kvm',
    // What a confined acrn-dm is shown: the rig opens it as KVM (test/rigs/acrn-hsm-kvm.c).
    `[ -e /dev/acrn_hsm ] || mknod -m 600 /dev/acrn_hsm c $((0x$(stat -c %t /dev/kvm))) $((0x$(stat -c %T /dev/kvm)))`,
    'node --version',
    '',
  ].join('\n');
}
