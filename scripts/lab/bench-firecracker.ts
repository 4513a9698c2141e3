// Runs in the lab: Firecracker through this library against the bare binary.
import { symlink } from 'node:fs/promises';
import path from 'node:path';
import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { savedFiles } from '../../src/hypervisors/firecracker/state-saved.ts';
import { benchVmm } from './bench-vmm.ts';
import { byRest } from './bench-by-rest.ts';

await benchVmm(firecracker, 'firecracker', async ({ binary, context, snapshot }) => {
  const plan = firecracker.plan(context, binary);
  const put = plan.requests.map(({ target, body }) => ({ target, body }));
  if (snapshot === undefined) return byRest(context, plan, put);
  await symlink(savedFiles.memory(snapshot), path.join(context.runtimeFolder, 'mem'));
  await symlink(savedFiles.state(snapshot), path.join(context.runtimeFolder, 'state'));
  const mem = { backend_type: 'File', backend_path: 'mem' };
  const load = { target: '/snapshot/load', body: { snapshot_path: 'state', mem_backend: mem, resume_vm: true } };
  // Logger, metrics and serial line come before it.
  return byRest(context, plan, [...put.slice(0, 3), load], { restored: true });
});
