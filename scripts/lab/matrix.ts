import { operations } from '../../src/hypervisors/capabilities.ts';

/** One test of a run, as the JSON reporter writes it. */
export interface LabResult {
  fullName: string;
  status: 'passed' | 'failed' | 'skipped' | 'pending' | 'todo';
}

/**
 * Operation by VMM: `works`, `unsupported` as it declares, or `failed`. A test belongs to the operations that its name holds
 * as `[operation]`; the suite names them so.
 */
export function matrixOf(results: ReadonlyMap<string, readonly LabResult[]>): Record<string, Record<string, string>> {
  return Object.fromEntries(
    operations.map((operation) => [
      operation,
      Object.fromEntries([...results].map(([type, tests]) => [type, verdict(operation, tests)])),
    ]),
  );
}

function verdict(operation: string, tests: readonly LabResult[]): string {
  const of = tests.filter(({ fullName }) => fullName.includes(`[${operation}]`));
  if (of.some(({ status }) => status === 'failed')) return 'failed';
  if (of.some(({ fullName }) => fullName.includes('refuses'))) return 'unsupported';
  return of.length > 0 && of.every(({ status }) => status === 'passed') ? 'works' : '-';
}
