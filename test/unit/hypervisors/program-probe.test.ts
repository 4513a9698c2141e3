import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { probeProgram, type ProgramProbe } from '../../../src/hypervisors/program-probe.ts';
import { places } from '../../../src/state/paths.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'pv-probe-'));
  vi.stubEnv('POLYVISOR_HOME', path.join(folder, 'home'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A program that says a version, and counts how often it is asked. */
function program(version: string): ProgramProbe {
  const file = path.join(folder, 'vmm');
  rmSync(file, { force: true });
  writeFileSync(file, `#!/bin/sh\necho asked >>${folder}/asked\necho "vmm version ${version}"\n`);
  chmodSync(file, 0o755);
  return { name: 'VMM', program: 'vmm', path: file, version: /version (\S+)/, oldest: [2, 0], install: 'Install it.' };
}

const asked = (): number => readFileSync(path.join(folder, 'asked'), 'utf8').trim().split('\n').length;
const remembered = (): string => path.join(places().verdicts, 'versions.json');

test('a program is asked for its version once, by whichever process', async () => {
  const wanted = program('2.1.0');
  expect(await probeProgram(wanted)).toEqual({ usable: true, path: wanted.path, version: '2.1.0', findings: [] });
  expect(await probeProgram(wanted)).toMatchObject({ usable: true, version: '2.1.0' });
  expect(asked()).toBe(1);
});

test('another program in its place is asked anew', async () => {
  await probeProgram(program('2.1.0'));
  expect(await probeProgram(program('1.9.0'))).toMatchObject({ usable: false, version: '1.9.0' });
  expect(asked()).toBe(2);
});

test('one that is asked as another VMM is asked anew', async () => {
  const wanted = program('2.1.0');
  await probeProgram(wanted);
  expect(await probeProgram({ ...wanted, name: 'Other', version: /vmm (\S+)/ })).toMatchObject({ version: 'version' });
});

test('what is remembered may be damaged or out of reach', async () => {
  const wanted = program('2.1.0');
  await probeProgram(wanted);
  writeFileSync(remembered(), '{"schema": 1, "ver');
  expect(await probeProgram(wanted)).toMatchObject({ version: '2.1.0' });
  expect(asked()).toBe(2);

  rmSync(path.join(folder, 'home'), { recursive: true });
  writeFileSync(path.join(folder, 'home'), 'no folder');
  expect(await probeProgram(wanted)).toMatchObject({ version: '2.1.0' });
  expect(existsSync(remembered())).toBe(false);
});

test('a program that does not run says why, each time', async () => {
  const wanted = program('2.1.0');
  writeFileSync(wanted.path ?? '', '#!/nowhere\n');
  for (const _ of [1, 2]) {
    const verdict = await probeProgram(wanted);
    expect(verdict).toMatchObject({ usable: false, findings: [{ advice: 'Install it.' }] });
    expect(verdict.findings[0]?.problem).toMatch(/does not run/);
  }
});
