import type { Command } from 'commander';
import type { PlannedVm } from '../../sandbox/plan.ts';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';
import { commandText, shellQuote } from '../quote.ts';
import { addVmFlags, type VmFlags } from '../vm-flags.ts';
import { settle, tellSettings } from '../vm-settings.ts';

/** `polyvisor plan` */
export function plan(): Command {
  const command = newCommand('plan', 'Prints exactly what the VMM would be told, and starts nothing.', [
    'plan',
    'plan -m 512M --cpus 2 --accel tcg --json',
  ]);
  return addVmFlags(command)
    .option('--json', 'print a JSON object')
    .option('-q, --quiet', 'no progress on stderr')
    .action(async (flags: VmFlags & { json?: boolean; quiet?: boolean }) => {
      const { planVm } = await import('../../sandbox/plan.ts');
      const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
      const onEvent = progress.onEvent.bind(progress);
      const settled = await settle(flags);
      if (flags.quiet !== true) tellSettings(settled.settings);
      const planned = await planVm({ ...settled.options, onEvent })
        .catch(settled.explain)
        .finally(() => progress.end());
      if (flags.json === true)
        printJson({ hypervisor: planned.hypervisor, ...planned.plan, confinement: planned.confinement });
      else print([...confinementLines(planned.confinement), planText(planned.plan)].join('\n'));
    });
}

/** A plan as a shell script: the command as it is, the rest as comments. */
export function planText({ binary, argv, env, files, requests, networkNamespace }: PlannedVm['plan']): string {
  const lines: string[] = [];
  for (const { path, content, mode } of files) {
    lines.push(`# file ${path} (${mode.toString(8).padStart(4, '0')})`, ...comment(content.trimEnd()));
  }
  const kernelLine = argv[argv.indexOf('-append') + 1];
  if (argv.includes('-append') && kernelLine !== undefined)
    lines.push('# kernel command line', ...comment(kernelLine.split(' ').join('\n')));
  for (const [name, value] of Object.entries(env)) lines.push(`${name}=${shellQuote(value)} \\`);
  const enter = networkNamespace === undefined ? [] : ['nsenter', `--net=${networkNamespace}`, '--'];
  const [first = binary, ...rest] = [...enter, binary, ...argv];
  lines.push(commandText(first, rest));
  for (const { method, target, body } of requests) {
    lines.push(
      `# then ${method} ${target}`,
      ...(body === undefined ? [] : comment(JSON.stringify(body, undefined, 2))),
    );
  }
  return lines.join('\n');
}

/** How the VMM would be confined, as comments. */
export function confinementLines(plan: PlannedVm['confinement']): string[] {
  const { level, uid, noNewPrivileges, capabilities, namespaces, jail, cgroup, maxFileBytes, missing } = plan;
  const kept = capabilities === 'all' ? 'all that the caller has' : capabilities.join(', ') || 'none';
  const limits = (cgroup?.limits ?? []).map(({ file, value }) => `${value} > ${file}`);
  const lines = [
    `confinement ${level}`,
    `  uid and gid: ${uid ?? "the caller's"}${noNewPrivileges ? ', no-new-privs' : ''}; capabilities: ${kept}`,
    `  namespaces of its own: ${namespaces.join(', ') || 'none'}`,
    ...(jail === undefined ? ['  it sees: all that the caller sees'] : ['  it sees:', ...sees(jail)]),
    ...(limits.length === 0 ? [] : ['  cgroup:', ...limits.map((limit) => `    ${limit}`)]),
    ...(maxFileBytes === undefined ? [] : [`  largest file that it may write: ${maxFileBytes} bytes`]),
    ...missing.map(({ measure, reason }) => `  missing: ${measure} (${reason})`),
  ];
  return lines.map((line) => `# ${line}`);
}

function sees({ mounts, nodes, copies }: NonNullable<PlannedVm['confinement']['jail']>): string[] {
  const shown = mounts.map(
    ({ path, readOnly }) => `    ${path}${readOnly ? '' : ' (writable)'}${copies.includes(path) ? ' (a copy)' : ''}`,
  );
  return [...shown, ...nodes.map(({ path }) => `    ${path} (a node of its own)`)];
}

function comment(text: string): string[] {
  return text === '' ? [] : text.split('\n').map((line) => `#   ${line}`);
}
