import { operations, type Support } from './capabilities.ts';
import { deviceKinds } from './device.ts';
import { driverTypes, loadDriver } from './registry.ts';

/** docs/hypervisors.md, from the capabilities that the drivers declare. */
export async function hypervisorDocs(): Promise<string> {
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
    '## Why not',
    '',
    ...notes.map((note, index) => `${index + 1}. ${note}`),
  ];
  return `${lines.join('\n')}\n`;
}
