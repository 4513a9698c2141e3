import { describe, expect, it } from 'vitest';
import { eventLine } from '../../../../src/cli/commands/events.ts';
import { statisticsTable } from '../../../../src/cli/commands/stats.ts';
import { exitCodeOfVm, statusText } from '../../../../src/cli/ending-text.ts';
import type { VmSummary } from '../../../../src/sandbox/inspect.ts';

const now = Date.parse('2026-01-01T00:03:00Z');
const at = '2026-01-01T00:00:00Z';
const vm = (more: Partial<VmSummary>): VmSummary => ({
  ...{ name: 'web', id: '0123456789ab', hypervisor: 'mock', status: 'stopped', detached: true, createdAt: at },
  ...more,
});

describe('the status of a VM', () => {
  it.each([
    ['running', vm({ status: 'running' })],
    ['running (frozen)', vm({ status: 'running', frozen: true })],
    ['stopped', vm({})],
    ['stopped 3m ago', vm({ ended: { at, reason: 'stopped' } })],
    ['stopped (guest shutdown) 3m ago', vm({ ended: { at, reason: 'guest-shutdown', exitCode: 0 } })],
    ['stopped (killed or crashed) 3m ago', vm({ ended: { at, reason: 'killed or crashed: it left no word' } })],
    ['stopped (SIGKILL) 3m ago', vm({ ended: { at, signal: 'SIGKILL' } })],
    ['stopped (exit 1) 3m ago', vm({ ended: { at, exitCode: 1 } })],
    ['failed (start failed) 3m ago', vm({ status: 'failed', ended: { at, reason: 'start failed: VMM_FAILED: x' } })],
  ])('%s', (text, summary) => {
    expect(statusText(summary, now)).toBe(text);
  });

  it('as an exit code is what a shell would say, or unknown', () => {
    expect(exitCodeOfVm({ at, exitCode: 3 })).toBe(3);
    expect(exitCodeOfVm({ at, signal: 'SIGKILL' })).toBe(137);
    expect(exitCodeOfVm({ at })).toBeUndefined();
    expect(exitCodeOfVm(undefined)).toBeUndefined();
  });
});

it('an event is a line that says when, what and which', () => {
  expect(eventLine({ at, event: 'renamed', name: 'new', id: '0123456789ab', hypervisor: 'mock', from: 'old' })).toBe(
    `${at} renamed new (id="0123456789ab", hypervisor="mock", from="old")`,
  );
});

it('statistics are a table whose columns are the same whatever is known', () => {
  const vmm = { pid: 7, cpuTimeMs: 1500, residentBytes: 2 ** 20, threads: 3, vcpus: [] };
  expect(statisticsTable([{ at, name: 'web', id: '0123456789ab', vmm }])).toBe(
    [
      'NAME   CPU %   CPU TIME   HOST MEMORY   THREADS   GUEST MEMORY   GUEST PROCESSES   PID',
      'web    -       1.5s       1.0 MiB       3         -              -                 7',
    ].join('\n'),
  );
});
