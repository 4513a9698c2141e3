// The contract suite on real VMMs, inside a VM whose /dev/kvm works: `npm run test:lab`.
// POLYVISOR_FIRECRACKER and the like name the programs; a VMM without one is skipped, unless POLYVISOR_LAB_REQUIRE lists it.
import { writeFile } from 'node:fs/promises';
import { bootLab, labCheckout } from './machine.ts';
import { type LabResult, matrixOf } from './matrix.ts';
import { addOnCargo, type Cargo, locate, programCargo } from './programs.ts';
import { labVmms, programsOf } from './vmms.ts';

const began = performance.now();
const report = (line: string): void =>
  void process.stderr.write(`lab (${Math.round((performance.now() - began) / 1000)} s): ${line}\n`);
const required = (process.env['POLYVISOR_LAB_REQUIRE'] ?? '').split(',').filter((type) => type !== '');
const unknown = required.filter((type) => !labVmms.some((vmm) => vmm.type === type));
if (unknown.length > 0) throw new Error(`POLYVISOR_LAB_REQUIRE names ${unknown.join(', ')}: not in the lab`);

const tally = { passed: 0, failed: 0, skipped: 0 };
const cargo: Cargo[] = [...programCargo(process.execPath, '/usr/bin/node'), ...addOnCargo('node_modules')];
const chosen = labVmms.filter((vmm) => {
  const found = programsOf(vmm);
  if ('paths' in found) {
    cargo.push(...[...found.paths].flatMap(([inLab, path]) => programCargo(path, inLab)));
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
])
  cargo.push(...programCargo(locate(tool), `/usr/bin/${tool}`));
cargo.push(
  { from: '/usr/share/qemu', to: '/usr/share/qemu' },
  { from: '/usr/share/seabios', to: '/usr/share/seabios' },
);

const vm = await bootLab(cargo, report);
const results = new Map<string, readonly LabResult[]>();
try {
  for (const vmm of chosen) {
    report(`${vmm.type}: the contract suite`);
    results.set(vmm.type, await runSuite(vmm.test, Object.fromEntries(Object.entries(vmm.programs))));
  }
} finally {
  await vm.remove();
}

for (const tests of results.values()) {
  tally.passed += tests.filter(({ status }) => status === 'passed').length;
  tally.failed += tests.filter(({ status }) => status === 'failed').length;
  tally.skipped += tests.filter(({ status }) => status !== 'passed' && status !== 'failed').length;
}
const matrix = matrixOf(results);
const output = process.env['POLYVISOR_LAB_REPORT'];
if (output !== undefined) await writeFile(output, `${JSON.stringify({ matrix, tally }, null, 2)}\n`);
console.table(matrix);
console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exitCode = tally.failed > 0 ? 1 : 0;

/** Runs one file of tests in the lab, shows what it prints, and reads what it found. */
async function runSuite(test: string, env: Record<string, string>): Promise<readonly LabResult[]> {
  const found = `/lab/${test.replaceAll('/', '-')}.json`;
  const argv = ['/usr/bin/node', 'node_modules/vitest/vitest.mjs', 'run', '--project', 'lab', test];
  const run = vm.exec([...argv, '--reporter=verbose', '--reporter=json', `--outputFile=${found}`], {
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
