import { broken, type Rule } from './rule.ts';

const maxVcpusWithinMachine: Rule = ({ config, hypervisor, arch, mostVcpus }) => {
  if (config.maxVcpus <= mostVcpus) return;
  const text = `maxVcpus is ${config.maxVcpus}, but ${hypervisor} on ${arch} takes at most ${mostVcpus}`;
  throw broken('maxVcpus', text);
};

const vcpusWithinMax: Rule = ({ config, input, host, mostVcpus }) => {
  if (config.vcpus <= config.maxVcpus) return;
  const text = `vcpus is ${config.vcpus}, but maxVcpus is ${config.maxVcpus}`;
  if (input.maxVcpus !== undefined || config.vcpus > mostVcpus) throw broken('vcpus', text);
  const why = `${text}, by default the lesser of the host's ${host.cpus} CPUs and the VMM's maximum`;
  throw broken('vcpus', why, `To have more vCPUs than CPUs, set maxVcpus to ${config.vcpus} too.`);
};

const memoryWithinHost: Rule = ({ config, host }) => {
  if (config.memoryMiB <= host.memoryMiB) return;
  throw broken('memoryMiB', `memoryMiB is ${config.memoryMiB}, but the host has ${host.memoryMiB} MiB`);
};

const numaDivides: Rule = ({ config }) => {
  const nodes = config.numaMapping.length;
  if (nodes === 0) return;
  for (const field of ['maxVcpus', 'memoryMiB'] as const) {
    if (config[field] % nodes === 0) continue;
    throw broken(field, `${field} is ${config[field]}, which ${nodes} NUMA nodes cannot divide evenly`);
  }
};

/** Rules for counts and sizes, against the host and the machine. */
export const sizeRules: readonly Rule[] = [maxVcpusWithinMachine, vcpusWithinMax, memoryWithinHost, numaDivides];
