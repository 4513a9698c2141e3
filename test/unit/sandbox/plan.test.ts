import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { agentBinary } from '../../../src/config/package-files.ts';
import { planVm } from '../../../src/sandbox/plan.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { runtimeFolder, places } from '../../../src/state/paths.ts';
import { commandLine } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';
import { fakeQemu, scratch } from '../../fakes/programs.ts';

const at = scratch();
const planned = runtimeFolder(places(), '0'.repeat(12));

it('starts nothing and makes nothing', async () => {
  const { hypervisor, plan } = await planVm({ hypervisor: 'mock', name: 'paper' });
  expect(hypervisor).toBe('mock');
  expect(plan.binary).toBe(agentBinary);
  expect(readdirSync(places().vms)).toEqual([]);
  expect(readdirSync(places().runtime)).toEqual([]);
  expect(structuredClone(plan)).toEqual(plan);
});

it('is what the VMM is then told', async () => {
  const options = { hypervisor: 'mock', name: 'told', memoryMiB: 128, vcpus: 1 };
  const { plan } = await planVm(options);
  const vm = await Vm.create(options);
  try {
    const { pid = 0, folders } = await vm.inspect();
    const argv = [plan.binary, ...plan.argv].map((word) => word.replaceAll(planned, folders.runtime));
    expect(commandLine(pid)).toEqual(argv);
    for (const { path, content } of plan.files) {
      expect(readFileSync(path.replace(planned, folders.runtime), 'utf8')).toBe(content);
    }
  } finally {
    await vm.remove();
  }
});

it('names the program that create would start: one set, or one given as a custom asset', async () => {
  const program = fakeQemu(at, '8.2.0');
  const guest = { kernel: agentBinary, initrd: agentBinary, accel: 'tcg' as const };
  expect((await planVm({ ...guest, hypervisorPath: program })).plan.binary).toBe(program);
  const customAssets = { hypervisor: { path: program } };
  expect((await planVm({ ...guest, hypervisorPath: agentBinary, customAssets })).plan.binary).toBe(program);
});

it('is refused where create would be', async () => {
  const guest = { kernel: agentBinary, initrd: agentBinary, accel: 'tcg' as const };
  expect(await codeOf(planVm({ ...guest, hypervisorPath: fakeQemu(at, '5.2.0') }))).toBe('HYPERVISOR_TOO_OLD');
  expect(await codeOf(planVm({ ...guest, hypervisorPath: at.script('silent', 'exit 1') }))).toBe(
    'HYPERVISOR_NOT_FOUND',
  );
  expect(await codeOf(planVm({ ...guest, hypervisorPath: at.script('other', 'echo hello') }))).toBe(
    'HYPERVISOR_NOT_FOUND',
  );
});

it('tells the accelerator and the network namespace', async () => {
  const guest = { kernel: agentBinary, initrd: agentBinary, hypervisorPath: fakeQemu(at, '8.2.0') };
  const { plan } = await planVm({ ...guest, accel: 'tcg', networkNamespace: '/run/netns/blue' });
  expect(plan).toMatchObject({ binary: guest.hypervisorPath, networkNamespace: '/run/netns/blue' });
  expect(plan.argv[plan.argv.indexOf('-accel') + 1]).toBe('tcg,thread=multi');
});

it('tells how the VMM would be confined, and that the mock is not', async () => {
  const guest = { kernel: agentBinary, initrd: agentBinary, hypervisorPath: fakeQemu(at, '8.2.0') };
  const { confinement } = await planVm({ ...guest, accel: 'tcg' });
  expect(confinement.level).toBe(process.geteuid?.() === 0 ? 'strict' : 'best');
  expect(confinement.jail?.mounts.map(({ path }) => path) ?? [agentBinary]).toContain(agentBinary);
  expect((await planVm({ hypervisor: 'mock' })).confinement).toMatchObject({ level: 'off', namespaces: [] });
  expect(await codeOf(planVm({ hypervisor: 'mock', confinement: 'strict' }))).toBe('UNSUPPORTED');
  expect(await codeOf(planVm({ ...guest, confinement: 'a bit' as 'best' }))).toBe('INVALID_ARGUMENT');
});
