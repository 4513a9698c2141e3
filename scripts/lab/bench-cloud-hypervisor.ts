// Runs in the lab: Cloud Hypervisor through this library against the bare binary.
import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import { openSnapshot, readSnapshot } from '../../src/hypervisors/cloud-hypervisor/control-snapshot.ts';
import { readSaved } from '../../src/hypervisors/cloud-hypervisor/state-saved.ts';
import { byRest } from './bench-by-rest.ts';
import { benchVmm } from './bench-vmm.ts';

await benchVmm(cloudHypervisor, 'clh', async ({ binary, context, snapshot }) => {
  const plan = cloudHypervisor.plan(context, binary);
  if (snapshot === undefined) return byRest(context, plan, plan.requests);
  const saved = await readSaved(snapshot);
  const read = readSnapshot(context, snapshot, saved, { onDemand: true, growable: false });
  const folder = openSnapshot(context, read);
  const mode = read.memory === 'on demand' ? { memory_restore_mode: 'OnDemand' } : {};
  const body = { source_url: `file://${folder}`, prefault: false, resume: true, ...mode };
  return byRest(context, plan, [{ target: '/api/v1/vm.restore', body }], { restored: true });
});
