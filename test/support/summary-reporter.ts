import { writeSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule, TestSuite } from 'vitest/node';

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Ends the output of a run, over all projects, with one line: `12 passed, 0 failed`, and `, 1 skipped` where there is one.
 * What fails outside a test counts as one failure each: a file that can't be imported, a hook of a suite, an error
 * nobody caught, and whatever `POLYVISOR_FAILED_BEFORE` names (the gate, when it runs before the tests).
 */
export default class SummaryReporter implements Reporter {
  #tally: Tally = { passed: 0, failed: 1, skipped: 0 };

  onInit(): void {
    // Printed at exit so that nothing comes after it.
    process.once('exit', () => {
      const before = process.env['POLYVISOR_FAILED_BEFORE'];
      if (before !== undefined && before !== '') {
        writeSync(1, `failed before the tests: ${before}\n`);
        this.#tally.failed++;
        process.exitCode ||= 1;
      }
      writeSync(1, `${summaryLine(this.#tally)}\n`);
    });
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    this.#tally = { passed: 0, failed: errors.length, skipped: 0 };
    for (const module of modules) this.#count(module);
    if (this.#tally.passed + this.#tally.failed + this.#tally.skipped === 0) this.#tally.failed = 1;
  }

  #count(suite: TestModule | TestSuite): void {
    this.#tally.failed += suite.errors().length;
    for (const child of suite.children) {
      if (child.type === 'suite') {
        this.#count(child);
        continue;
      }
      const { state } = child.result();
      // A test that never ran to its end (its worker died) has not passed.
      this.#tally[state === 'pending' ? 'failed' : state]++;
    }
  }
}

/** The last line of a run. */
export function summaryLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
