// The contract suite on real VMMs, inside a VM whose /dev/kvm works: `npm run test:lab`.
// POLYVISOR_FIRECRACKER and the like name the programs; a VMM without one is skipped, unless POLYVISOR_LAB_REQUIRE lists it.
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { operations } from '../../src/hypervisors/capabilities.ts';
import { buildKvmHolder } from '../../test/rigs/build.ts';
import { bundleConfig, bundleFolder, bundleName, bundleTests } from './bundle.ts';
import { labCheckout, openLab } from './machine.ts';
import { type LabFindings, type LabResult, operationsIn } from './matrix.ts';
import { addOnCargo, type Cargo, locate, programCargo } from './programs.ts';
import { labVmms, programsOf } from './vmms.ts';

const { values: flags } = parseArgs({
  options: {
    // leave the lab running for the next run with --keep: booting and filling it takes a minute
    keep: { type: 'boolean', default: false },
    only: { type: 'string' },
    // figures against the bare binaries, in place of the tests
    bench: { type: 'boolean', default: false },
    // names of tests, as vitest takes them
    testNamePattern: { type: 'string', short: 't' },
  },
});
/**
 * The lab's root is its initramfs, which is the one file system that pivot_root(2) does not take: jails are made of it. In a mount
 * namespace of its own the tests get the same folder as an ordinary mount on top.
 */
const rootScript = [
  'mkdir -p /lab/root',
  'mount --rbind / /lab/root',
  'cd /lab/root',
  'mount --move /lab/root /',
  'exec chroot . /bin/sh -c \'cd "$1" && shift && exec "$@"\' sh "$@"',
].join(' && ');
const inRootOfItsOwn = ['/lab/hold-kvm', 'unshare', '--mount', '/bin/sh', '-c', rootScript, 'sh', labCheckout];

const began = performance.now();
const report = (line: string): void =>
  void process.stderr.write(`lab (${Math.round((performance.now() - began) / 1000)} s): ${line}\n`);
const required = (process.env['POLYVISOR_LAB_REQUIRE'] ?? '').split(',').filter((type) => type !== '');
const unknown = required.filter((type) => !labVmms.some((vmm) => vmm.type === type));
if (unknown.length > 0) throw new Error(`POLYVISOR_LAB_REQUIRE names ${unknown.join(', ')}: not in the lab`);

const tally = { passed: 0, failed: 0, skipped: 0 };
const vmmCargo: Cargo[] = [{ from: buildKvmHolder(), to: '/lab/hold-kvm' }];
const cargo: Cargo[] = [...programCargo(process.execPath, '/usr/bin/node'), ...addOnCargo('node_modules')];
const chosen = labVmms.filter((vmm) => {
  if (flags.only !== undefined && !flags.only.split(',').includes(vmm.type)) return false;
  const found = programsOf(vmm);
  if ('paths' in found) {
    vmmCargo.push(...[...found.paths].flatMap(([inLab, path]) => programCargo(path, inLab)), ...(vmm.cargo?.() ?? []));
    return true;
  }
  const isRequired = required.includes(vmm.type);
  report(`${vmm.type} is ${isRequired ? 'required' : 'skipped'}: ${found.missing}`);
  tally[isRequired ? 'failed' : 'skipped']++;
  return false;
});
// What the drivers call on every host.
for (const tool of [
  'bash',
  'setpriv',
  'unshare',
  'nsenter',
  'mount',
  'umount',
  'ip',
  'mkfifo',
  'env',
  'tar',
  'prlimit',
  'taskset',
  'chroot',
  'mknod',
  // for root images
  'mke2fs',
  // a disk that another process serves
  'qemu-storage-daemon',
])
  cargo.push(...programCargo(locate(tool), `/usr/bin/${tool}`));
// The daemon of shared folders, where its package put it.
cargo.push(...programCargo('/usr/lib/qemu/virtiofsd', '/usr/lib/qemu/virtiofsd'));
cargo.push(
  { from: '/usr/share/qemu', to: '/usr/share/qemu' },
  { from: '/usr/share/seabios', to: '/usr/share/seabios' },
);

const bundles = await mkdtemp(path.join(tmpdir(), 'polyvisor-lab-tests-'));
const benches = flags.bench ? chosen.flatMap(({ bench }) => bench ?? []) : [];
await bundleTests(flags.bench ? benches : chosen.map(({ test }) => test), bundles);
const vm = await openLab({ cargo, vmmCargo, bundles, keep: flags.keep, report });
const results = new Map<string, readonly LabResult[]>();
const found: Record<string, LabFindings> = {};
try {
  for (const bench of benches) await runBench(bench);
  for (const vmm of flags.bench ? [] : chosen) {
    report(`${vmm.type}: the contract suite`);
    const tests = await runSuite(vmm.test, Object.fromEntries(Object.entries(vmm.programs)));
    results.set(vmm.type, tests);
    found[vmm.type] = {
      version: await versionOf(Object.values(vmm.programs)[0] ?? ''),
      date: new Date().toISOString().slice(0, 10),
      passed: tests.filter(({ status }) => status === 'passed').length,
      failed: tests.filter(({ status }) => status === 'failed').length,
      operations: operationsIn(tests),
    };
  }
} finally {
  await (flags.keep ? vm.close() : vm.remove());
  await rm(bundles, { recursive: true });
}

for (const tests of results.values()) {
  tally.passed += tests.filter(({ status }) => status === 'passed').length;
  tally.failed += tests.filter(({ status }) => status === 'failed').length;
  tally.skipped += tests.filter(({ status }) => status !== 'passed' && status !== 'failed').length;
}
const output = process.env['POLYVISOR_LAB_REPORT'];
if (output !== undefined) {
  const known = { ...readReport(output), ...found };
  const inOrder = labVmms.flatMap(({ type }) => (known[type] === undefined ? [] : [[type, known[type]]]));
  await writeFile(output, `${JSON.stringify(Object.fromEntries(inOrder), null, 2)}\n`);
}
if (!flags.bench) {
  const rows = operations.map((operation): [string, Record<string, string>] => [
    operation,
    Object.fromEntries(Object.entries(found).map(([type, of]) => [type, shortly(of.operations[operation])])),
  ]);
  console.table(Object.fromEntries(rows));
}
console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exitCode = tally.failed > 0 ? 1 : 0;

/** What earlier runs wrote of other VMMs. */
function readReport(file: string): Record<string, LabFindings> {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, LabFindings>) : {};
}

/** For a table that is looked at in a terminal; the report has the reasons. */
function shortly(verdict: string | undefined): string {
  return verdict === undefined || verdict === 'works' || verdict === 'failed' ? (verdict ?? '-') : 'unsupported';
}

/** The first line that a program prints of itself. */
async function versionOf(program: string): Promise<string> {
  const { stdout } = await vm.exec([program, '--version']);
  // Who built it, and when, is nobody's affair.
  return (
    stdout
      .split('\n')[0]
      ?.replace(/ build by .*/, '')
      .trim() ?? ''
  );
}

/** Measures in the lab. A bound is held against the upper end of a ratio's interval. */
async function runBench(bench: string): Promise<void> {
  report(bench);
  const run = vm.exec([...inRootOfItsOwn, '/usr/bin/node', `${bundleFolder}/${bundleName(bench)}`], {
    cwd: labCheckout,
    env: { HOME: '/root', POLYVISOR_LAB_PAIRS: process.env['POLYVISOR_LAB_PAIRS'] ?? '15', PATH: '/usr/bin:/bin' },
  });
  let text = '';
  for await (const { stream, data } of run) {
    if (stream === 'stdout') text += Buffer.from(data).toString();
    else process.stderr.write(data);
  }
  const rows = JSON.parse(text) as Record<string, { value: number; high?: number; most?: number }>;
  console.table(rows);
  for (const { value, high = value, most = Infinity } of Object.values(rows))
    tally[high <= most ? 'passed' : 'failed']++;
}

/** Runs one file of tests in the lab, shows what it prints, and reads what it found. */
async function runSuite(test: string, env: Record<string, string>): Promise<readonly LabResult[]> {
  const found = `/lab/${test.replaceAll('/', '-')}.json`;
  const argv = ['/usr/bin/node', 'node_modules/vitest/vitest.mjs', 'run', bundleName(test)];
  const chosenTests = flags.testNamePattern === undefined ? [] : ['-t', flags.testNamePattern];
  argv.push('--config', `${bundleFolder}/${bundleConfig}`, '--root', '.');
  const reporters = ['--reporter=verbose', '--reporter=json', `--outputFile=${found}`];
  const run = vm.exec([...inRootOfItsOwn, ...argv, ...chosenTests, ...reporters], {
    cwd: labCheckout,
    env: { ...env, HOME: '/root', NO_COLOR: '1', POLYVISOR_LAB: '1' },
  });
  for await (const { data } of run) process.stderr.write(data);
  const text = await vm.exec(['cat', found]);
  if (text.exitCode !== 0) return [{ fullName: `${test} left no report`, status: 'failed' }];
  const { testResults } = JSON.parse(text.stdout) as {
    testResults: { assertionResults: LabResult[]; status: string; name: string }[];
  };
  return testResults.flatMap(({ assertionResults, status, name }) =>
    // A file that can't be imported has no tests to fail.
    status === 'failed' && assertionResults.every((test_) => test_.status !== 'failed')
      ? [...assertionResults, { fullName: name, status: 'failed' as const }]
      : assertionResults,
  );
}
