import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { doctorText } from '../../../../src/cli/commands/doctor.ts';
import { listing } from '../../../../src/cli/commands/ls.ts';
import { planText } from '../../../../src/cli/commands/plan.ts';
import { imageListing } from '../../../../src/cli/image-list.ts';

const plan = {
  binary: '/bin/echo',
  argv: ['-machine', 'q35', '-append', "quiet it's=1", '-device', '{"driver":"x"}'],
  env: { A: 'b c' },
  files: [{ path: '/run/x/ev.in', content: '{"execute":"y"}\n', mode: 0o600 }],
  paths: [],
  requests: [{ method: 'PUT', target: '/boot', body: { a: 1 } }],
};

it('shows a plan as a script that is the very command', () => {
  const text = planText(plan);
  expect(execFileSync('/bin/sh', ['-c', text], { encoding: 'utf8' })).toBe(`${plan.argv.join(' ')}\n`);
  expect(text.split('\n')).toEqual([
    '# file /run/x/ev.in (0600)',
    '#   {"execute":"y"}',
    '# kernel command line',
    '#   quiet',
    "#   it's=1",
    "A='b c' \\",
    '/bin/echo \\',
    '  -machine q35 \\',
    String.raw`  -append 'quiet it'\''s=1' \ `.trimEnd(),
    `  -device '{"driver":"x"}'`,
    '# then PUT /boot',
    '#   {',
    '#     "a": 1',
    '#   }',
  ]);
});

it('shows a plan without any of the extras as the command alone', () => {
  expect(planText({ binary: '/b', argv: ['-append'], env: {}, files: [], requests: [], paths: [] })).toBe(
    '/b \\\n  -append',
  );
});

it('lists VMs in columns that are always there', () => {
  const common = { id: '0'.repeat(12), hypervisor: 'qemu', detached: true };
  const createdAt = '2030-01-01T00:00:00Z';
  const text = listing(
    [
      { ...common, name: 'web', status: 'running', createdAt, pid: 7, vcpus: 2, memoryMiB: 512, accel: 'tcg' },
      { ...common, name: 'old', hypervisor: '', status: 'broken', createdAt: '' },
    ],
    Date.parse('2030-01-01T02:00:00Z'),
  );
  expect(text.split('\n').map((line) => line.split(/ +/))).toEqual([
    ['NAME', 'HYPERVISOR', 'ACCEL', 'STATUS', 'VCPUS', 'MEMORY', 'AGE', 'PID'],
    ['web', 'qemu', 'tcg', 'running', '2', '512M', '2h', '7'],
    ['old', '-', '-', 'broken', '-', '-', '-', '-'],
  ]);
});

it('lists images with the size of what is booted', () => {
  const file = (size: number) => ({ sha256: 'f'.repeat(64), size });
  const manifest = {
    schemaVersion: 1 as const,
    name: 'default',
    architecture: 'x86_64' as const,
    key: 'abcdef0123456789',
    recipe: '',
    kernelRelease: '6.1.0',
    kernelFormat: 'elf' as const,
    commandLine: [],
    packages: [],
    inputs: { agent: file(1) },
    files: { kernel: file(2 ** 20), initrd: file(2 ** 19) },
    bootModules: [],
    otherModules: [],
  };
  const image = { name: 'default', folder: '/f', kernel: '/f/kernel', initrd: '/f/initrd', manifest };
  const text = imageListing([
    { image, usedBy: ['a', 'b'], isCurrent: true },
    { image, usedBy: [], isCurrent: false },
  ]);
  const [, first, second] = text.split('\n').map((line) => line.split(/ +/));
  expect(first).toEqual(['default', 'abcdef012345', 'current', '6.1.0', 'x86_64', '1.5MiB', '2', '/f']);
  expect(second?.slice(2)).toEqual(['old', '6.1.0', 'x86_64', '1.5MiB', '0', '/f']);
});

it('says for each hypervisor whether it is usable and, where it is not, what to do', () => {
  const text = doctorText({
    host: { arch: 'amd64', cpus: 2, memoryMiB: 1024, runningOnVmm: false, uid: 0 },
    kvm: { state: 'broken', reason: 'no /dev/kvm' },
    hypervisors: [
      { type: 'mock', usable: true, version: '1', path: '/m', findings: [] },
      { type: 'acrn', usable: false, findings: [{ problem: 'no acrn-dm', advice: 'Install it.' }] },
    ],
    confinement: {
      level: 'best',
      missing: [{ measure: 'uid', reason: 'only root can give it one', advice: 'Be root.' }],
    },
    image: undefined,
  });
  expect(text).toContain('confine best: 1 of its measures can not be taken');
  expect(text).toContain('without uid: only root can give it one\n          -> Be root.');
  expect(text).toMatch(/^mock +yes +- +1 +\/m$/m);
  expect(text).toMatch(/^acrn +no +- +- +-$/m);
  expect(text).toContain('acrn: no acrn-dm\n  -> Install it.');
  expect(text).toContain('kvm     no: no /dev/kvm');
  expect(text).toContain('not built yet');
});
