import { writeSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** Says of each group of a run, in one line of JSON, whether anything in it failed: a test, or a hook around its tests. */
export default class GroupReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const groups = modules.flatMap((module) => [...module.children]).filter((child) => child.type === 'suite');
    writeSync(1, `${JSON.stringify(groups.map((group) => ({ name: group.name, red: !group.ok() })))}\n`);
  }
}
