import { operations, type Support } from './capabilities.ts';
import { deviceKinds } from './device.ts';
import { driverTypes, loadDriver } from './registry.ts';

/** What the contract suite showed of one VMM's real program in the lab (scripts/lab/matrix.ts). */
export interface Proved {
  version: string;
  date: string;
  passed: number;
  failed: number;
  operations: Readonly<Record<string, string>>;
}

/**
 * docs/hypervisors.md, from the capabilities that the drivers declare.
 * @param proved what the lab's report says, by hypervisor type
 */
export async function hypervisorDocs(proved: Readonly<Record<string, Proved>>): Promise<string> {
  const modules = await Promise.all(driverTypes().map(loadDriver));
  const notes: string[] = [];
  const cell = (support: Support): string => {
    if (support === true) return 'yes';
    if (!notes.includes(support)) notes.push(support);
    return `no [${notes.indexOf(support) + 1}]`;
  };
  const row = (name: string, supports: readonly Support[]): string => `| ${name} | ${supports.map(cell).join(' | ')} |`;
  const head = (what: string): string[] => [
    `| ${what} | ${modules.map(({ type }) => type).join(' | ')} |`,
    `|---|${modules.map(() => '---|').join('')}`,
  ];
  const lines = [
    '# Hypervisors',
    '',
    'Generated from the capabilities that each driver declares (`npm run docs`). An operation that is not supported rejects with',
    '`UNSUPPORTED` and the reason below; nothing succeeds without doing what it says.',
    '',
    '## Operations',
    '',
    ...head('operation'),
    ...operations.map((operation) =>
      row(
        operation,
        modules.map(({ capabilities }) => capabilities.operations[operation]),
      ),
    ),
    row(
      'commands in the guest',
      modules.map(({ capabilities }) => capabilities.agent),
    ),
    row(
      'clones share memory',
      modules.map(({ capabilities }) => capabilities.sharedMemory),
    ),
    row(
      'isolation from the host',
      modules.map(({ capabilities }) => capabilities.isolation),
    ),
    '',
    '## Devices',
    '',
    ...head('device, when'),
    ...deviceKinds.flatMap((kind) =>
      (['start', 'hotAdd', 'hotRemove'] as const).map((when) =>
        row(
          `${kind}, ${{ start: 'at start', hotAdd: 'hot added', hotRemove: 'hot removed' }[when]}`,
          modules.map(({ capabilities }) => capabilities.devices[kind][when]),
        ),
      ),
    ),
    '',
    ...provedLines(proved, cell),
    '## Why not',
    '',
    ...notes.map((note, index) => `${index + 1}. ${note}`),
  ];
  return `${lines.join('\n')}\n`;
}

function provedLines(proved: Readonly<Record<string, Proved>>, cell: (support: Support) => string): string[] {
  const entries = Object.entries(proved);
  const told = (verdict: string | undefined): string => {
    if (verdict === undefined) return '-';
    return verdict === 'works' || verdict === 'failed' ? verdict : cell(verdict);
  };
  return [
    '## Proved on the real programs',
    '',
    'What `npm run test:lab` found: the contract suite on the real VMMs, in a VM whose KVM (AMD SVM) is emulated by QEMU. `no` is what the',
    'program that was found does not offer, refused as declared; `-` is what the suite has no test of its own for.',
    '',
    ...entries.map(
      ([type, { version, date, passed, failed }]) =>
        `- ${type}: ${version}, ${date}, ${passed} tests passed, ${failed} failed`,
    ),
    '',
    `| operation | ${entries.map(([type]) => type).join(' | ')} |`,
    `|---|${entries.map(() => '---|').join('')}`,
    ...operations.map(
      (operation) => `| ${operation} | ${entries.map(([, of]) => told(of.operations[operation])).join(' | ')} |`,
    ),
    '',
    'A VMM that is not in this table was not run in full with this version. A pass of ACRN is one of its real device model, `acrn-dm`, on a library that plays the',
    'device of the hypervisor on KVM (test/rigs/acrn-hsm-kvm.c): it proves nothing about the hypervisor itself, such as how many VMs it allows, its scenarios, and how it',
    "divides CPUs. One of Firecracker and its jailer is of static builds against glibc, with a seccomp filter that allows what glibc needs beside the vendor's list.",
    '',
  ];
}
