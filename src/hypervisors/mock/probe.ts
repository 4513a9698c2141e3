import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { HostFacts } from '../../config/host.ts';
import { agentBinary, packageJson } from '../../config/package-files.ts';
import { readFile } from 'node:fs/promises';
import type { HostVerdict } from '../hypervisor.ts';

/** The mock needs the agent only, which comes with the package. */
export async function probe(_host: HostFacts, hypervisorPath: string = agentBinary): Promise<HostVerdict> {
  try {
    await access(hypervisorPath, constants.X_OK);
  } catch {
    const problem = `the guest agent is missing at ${hypervisorPath}`;
    return { usable: false, findings: [{ problem, advice: 'Run `npm run build`, or install the package anew.' }] };
  }
  const { version } = JSON.parse(await readFile(packageJson, 'utf8')) as { version: string };
  const problem = 'no isolation: commands run on this host, as this user';
  return { usable: true, path: hypervisorPath, version, findings: [{ problem, advice: 'Use it for tests only.' }] };
}
