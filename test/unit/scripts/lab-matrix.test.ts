import { expect, it } from 'vitest';
import { type LabResult, operationsIn } from '../../../scripts/lab/matrix.ts';

const test = (fullName: string, status: LabResult['status'], support?: LabResult['meta']): LabResult => ({
  fullName,
  status,
  ...(support === undefined ? {} : { meta: support }),
});

it('says of an operation that it works when a test of its own passed, and of all else what is so', () => {
  const found = operationsIn([
    test('clh: is adopted [saveState] [loadState]', 'passed'),
    test('clh: does [saveState], or refuses it as declared', 'passed', { support: true }),
    // Nobody asked more of it than whether it is there.
    test('clh: does [pids], or refuses it as declared', 'passed', { support: true }),
    test('clh: does [dumpMemory], or refuses it as declared', 'passed', { support: 'it was built without' }),
    test('clh: dumps its memory [dumpMemory]', 'passed'),
    test('clh: stops [stop]', 'failed'),
    test('clh: stops another way [stop]', 'passed'),
  ]);
  expect(found).toEqual({
    saveState: 'works',
    loadState: 'works',
    dumpMemory: 'it was built without',
    stop: 'failed',
  });
});
