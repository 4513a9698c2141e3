import { appendFileSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type LogOptions, logPath, vmLog } from '../../../src/sandbox/logs.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { codeOf } from '../../fakes/failure.ts';

let vm: Vm;
let file: string;
beforeEach(async () => {
  vm = await Vm.create({ hypervisor: 'mock', name: 'writer' });
  file = await logPath('writer', 'console');
});
afterEach(() => vm.remove());

async function read(options: LogOptions = {}): Promise<string> {
  let text = '';
  for await (const piece of vmLog('writer', options)) text += piece.toString();
  return text;
}

it('tells what the agent said, and when', async () => {
  const [first] = (await read({ source: 'agent' })).split('\n');
  expect(first).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ polyvisor-agent: ready$/);
  const age = Date.now() - Date.parse(first?.slice(0, 20) ?? '');
  expect(age).toBeLessThan(60_000);
});

it('has the last lines, of one source, and those since a time', async () => {
  truncateSync(file);
  appendFileSync(
    file,
    'out 1\n2026-01-02T10:00:00Z polyvisor-agent: a\nout 2\n2026-01-02T11:00:00Z polyvisor-agent: b\nout 3\n',
  );
  expect(await read({ lines: 2 })).toBe('2026-01-02T11:00:00Z polyvisor-agent: b\nout 3\n');
  expect(await read({ source: 'agent', lines: 1 })).toBe('2026-01-02T11:00:00Z polyvisor-agent: b\n');
  expect(await read({ since: new Date('2026-01-02T10:30:00Z') })).toBe(
    'out 2\n2026-01-02T11:00:00Z polyvisor-agent: b\nout 3\n',
  );
  expect(await read({ source: 'agent', since: new Date('2026-01-02T10:30:00Z') })).toBe(
    '2026-01-02T11:00:00Z polyvisor-agent: b\n',
  );
});

it('is followed until the VM ends', async () => {
  truncateSync(file);
  const log = vmLog('writer', { follow: true });
  const first = log.next();
  appendFileSync(file, 'first');
  expect(String((await first).value)).toBe('first');
  appendFileSync(file, 'last');
  await vm.stop();
  let rest = '';
  for await (const piece of log) rest += piece.toString();
  expect(rest).toMatch(/^last/);
  // And of one that has ended it is what there is.
  expect(await read({ follow: true, lines: 1 })).toContain('firstlast');
});

it('is that of a VM', async () => {
  expect(await codeOf(vmLog('nobody').next())).toBe('NOT_FOUND');
});
