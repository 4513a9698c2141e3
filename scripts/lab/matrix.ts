import { operations, type Operation, type Support } from '../../src/hypervisors/capabilities.ts';

/** One test of a run, as the JSON reporter writes it. */
export interface LabResult {
  fullName: string;
  status: 'passed' | 'failed' | 'skipped' | 'pending' | 'todo';
  /** what the contract suite notes of an operation: whether the program that was found offers it, or why not */
  meta?: { support?: Support };
}

/** What a run in the lab showed of one VMM. */
export interface LabFindings {
  /** as the programs print it */
  version: string;
  /** of the run, as in 2026-11-27 */
  date: string;
  passed: number;
  failed: number;
  /** `works`, `failed`, or why the program that was found does not do it; absent for what no test was run of */
  operations: Partial<Record<Operation, string>>;
}

/** The suite's test of every operation, which alone shows no more than that there is one, or a refusal. */
const declared = /does \[\w+\], or refuses it as declared/;

/** What the tests of one VMM say of each operation: those that name it in brackets. */
export function operationsIn(tests: readonly LabResult[]): LabFindings['operations'] {
  return Object.fromEntries(
    operations.flatMap((operation) => {
      const of = tests.filter(({ fullName }) => fullName.includes(`[${operation}]`));
      const refusal = of.map(({ meta }) => meta?.support).find((support) => typeof support === 'string');
      if (of.some(({ status }) => status === 'failed')) return [[operation, 'failed']];
      if (refusal !== undefined) return [[operation, refusal]];
      const shown = of.some(({ status, fullName }) => status === 'passed' && !declared.test(fullName));
      return shown ? [[operation, 'works']] : [];
    }),
  );
}
