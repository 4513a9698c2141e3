import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { configFieldNames } from '../../../src/config/config-fields.ts';
import { originText } from '../../../src/config/origin.ts';
import { VmError } from '../../../src/errors.ts';
import { effectiveOptions } from '../../../src/settings/effective.ts';
import { fileSchema } from '../../../src/settings/json-schema.ts';
import { loadSettings, type Settings, type SettingsOptions, withOrigin } from '../../../src/settings/load.ts';
import { heldOptions } from '../../../src/settings/own-options.ts';
import { tomlComment, tomlText } from '../../../src/settings/toml-text.ts';
import { host, rejection } from '../config/fixture.ts';
import { fixture, temporaryFolder } from '../kata/fixture.ts';

/** A user's folder and a project's, with files of these texts. */
function places({ user, project }: { user?: string; project?: string }): { folder: string; env: NodeJS.ProcessEnv } {
  const home = temporaryFolder();
  const folder = path.join(home, 'project', 'inner');
  mkdirSync(folder, { recursive: true });
  mkdirSync(path.join(home, '.config/polyvisor'), { recursive: true });
  if (user !== undefined) writeFileSync(path.join(home, '.config/polyvisor/polyvisor.toml'), user);
  if (project !== undefined) writeFileSync(path.join(home, 'project/polyvisor.toml'), project);
  return { folder, env: { HOME: home } };
}

async function loaded(files: { user?: string; project?: string }, more: SettingsOptions = {}): Promise<Settings> {
  const { folder, env } = places(files);
  return loadSettings({ folder, ...more, env: { ...env, ...more.env } });
}

it('merges the files, annotations and the environment; the later one wins', async () => {
  const user = '[vm]\nvcpus = 1\nmemoryMiB = 256\nhypervisor = "mock"\nenableAnnotations = ["default_vcpus"]\n';
  const { options, origins, files } = await loaded(
    {
      user,
      project: '[vm]\nmemoryMiB = 512\nkernelParams = ["quiet", "a=b", { key = "c", value = "" }]\nkernel = "k"\n',
    },
    {
      annotations: { 'io.katacontainers.config.hypervisor.default_vcpus': '1' },
      env: { POLYVISOR_MEMORY: '1G' },
    },
  );
  const project = path.dirname(files[1] ?? '');
  expect(options).toEqual({
    hypervisor: 'mock',
    vcpus: 1,
    memoryMiB: 1024,
    enableAnnotations: ['default_vcpus'],
    kernel: path.join(project, 'k'),
    kernelParams: [
      { key: 'quiet', value: '' },
      { key: 'a', value: 'b' },
      { key: 'c', value: '' },
    ],
  });
  expect(Object.fromEntries([...origins].map(([name, origin]) => [name, originText(origin)]))).toEqual({
    hypervisor: `${files[0]}:4`,
    vcpus: 'annotation io.katacontainers.config.hypervisor.default_vcpus',
    memoryMiB: 'environment POLYVISOR_MEMORY',
    enableAnnotations: `${files[0]}:5`,
    kernel: `${files[1]}:4`,
    kernelParams: `${files[1]}:3`,
  });
});

it('reads nothing where there is nothing', async () => {
  expect(await loaded({})).toMatchObject({ options: {}, files: [], report: [], warnings: [] });
});

describe('a named file', () => {
  it("may be one of Kata's, told apart by its sections, and takes the place of those that are found", async () => {
    const { options, factory, report } = await loaded({ user: '[vm]\nvcpus = 1' }, { file: fixture('one.toml') });
    expect(options).toMatchObject({ hypervisor: 'qemu', memoryMiB: 1024 });
    expect(factory?.cacheNumber).toBe(2);
    expect(report.length).toBeGreaterThan(20);
  });

  it('may name programs', async () => {
    const { folder, env } = places({ project: '[vm]\nhypervisorPath = "/x"' });
    const { options } = await loadSettings({ folder, env, file: '../polyvisor.toml' });
    expect(options.hypervisorPath).toBe('/x');
  });
});

describe('refuses, with file and line', () => {
  it.each([
    ['[vm]\nmemoryMiB = "2G"', 2, 'memoryMiB is "2G", allowed is a whole number of at least 64 (MiB)'],
    ['[vm]\nmemory = 1', 2, 'vm.memory is no option; did you mean memoryMiB?'],
    ['vcpus = 1', 1, 'vcpus is in no section'],
    ['\n[vms]\nvcpus = 1', 3, 'vms.vcpus is in no section'],
    ['[vm]\nvcpus.x = 1', 2, 'vcpus is a table'],
    ['[vm]\nhypervisor = "xen"', 2, 'hypervisor is "xen", allowed is one of'],
    ['[vm]\nstartTimeoutMs = 0', 2, 'startTimeoutMs is 0'],
    ['[vm]\nkernelParams = [1]', 2, 'kernelParams'],
    ['[vm]\n[vm.customAssets.kernel]\nsha512 = "x"', 3, 'customAssets'],
    ['[vm', 1, 'this is no TOML'],
  ])('%#', async (project, line, text) => {
    const error = await rejection(loaded({ project }));
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { line } });
    expect(error.rawMessage).toMatch(new RegExp(`polyvisor\\.toml:${line}: `));
    expect(error.rawMessage).toContain(text);
  });

  it.each([
    'hypervisorPath = "/x"',
    'virtioFsDaemon = "/x"',
    'hypervisorParams = ["x"]',
    'confinement = "off"',
    'enableAnnotations = [".*"]',
    'customAssets.hypervisor.path = "/x"',
  ])("programs of the host in a project's file: %s", async (line) => {
    const error = await rejection(loaded({ project: `[vm]\n${line}` }));
    expect(error.rawMessage).toContain('may not be set by the file of a project');
    await expect(loaded({ user: `[vm]\n${line}` })).resolves.toBeDefined();
  });

  it('a wrong variable of the environment', async () => {
    await expect(loaded({}, { env: { POLYVISOR_CPUS: 'many' } })).rejects.toThrow('POLYVISOR_CPUS: "many"');
    await expect(loaded({}, { env: { POLYVISOR_HYPERVISOR: 'xen' } })).rejects.toThrow('POLYVISOR_HYPERVISOR');
  });
});

it('an error about an option names the line that set it', async () => {
  const { origins, files } = await loaded({ user: '[vm]\niommu = true\n' });
  const error = new VmError('INVALID_CONFIG', 'iommu needs machineType q35', { field: 'iommu' });
  expect(withOrigin(error, origins)).toMatchObject({ rawMessage: `${files[0]}:2: iommu needs machineType q35` });
});

it('shows every option with a value, and where it comes from', async () => {
  const { options, origins } = await loaded({ user: '[vm]\nmemoryMiB = 256\nhypervisor = "mock"\n' });
  const all = await effectiveOptions({ ...options }, origins, host);
  const origin = (name: string): string | undefined => {
    const found = all.find((it) => it.name === name);
    return found === undefined ? undefined : originText(found.origin);
  };
  expect(origin('memoryMiB')).toMatch(/polyvisor\.toml:2$/);
  expect(origin('vcpus')).toBe('default');
  expect(origin('kernel')).toBeUndefined();
});

it('the schema has every option, and refuses others', () => {
  const { properties } = fileSchema() as { properties: { vm: { properties: object; additionalProperties: boolean } } };
  const names = [...heldOptions.map(({ name }) => name), ...configFieldNames];
  expect(Object.keys(properties.vm.properties).toSorted()).toEqual(names.toSorted());
  expect(properties.vm.additionalProperties).toBe(false);
});

it('what is printed can be read again', async () => {
  const values = {
    kernel: '/k "\u007F\\',
    vcpus: 2,
    kernelParams: [{ key: 'a', value: '"b"' }],
    customAssets: { kernel: { path: '/x', sha512: undefined } },
    iommu: false,
  };
  const lines = Object.entries(values).map(([name, value]) => ({ name, value, comment: 'from\nhere' }));
  const { folder, env } = places({});
  const file = path.join(folder, 'printed.toml');
  writeFileSync(file, `${tomlComment('one\ntwo')}\n\n${tomlText(lines.slice(1))}`);
  const { options } = await loadSettings({ folder, env, file });
  expect(options).toEqual({ ...options, vcpus: 2, kernelParams: values.kernelParams, iommu: false });
  expect(options.customAssets).toEqual({ kernel: { path: '/x' } });
  expect(readFileSync(file, 'utf8')).toContain('# one\n# two\n');
});
