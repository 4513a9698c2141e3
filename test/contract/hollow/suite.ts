import { beforeEach, describe, onTestFailed } from 'vitest';
import type { HypervisorModule } from '../../../src/hypervisors/hypervisor.ts';
import { type ContractFixture, describeHypervisor } from '../hypervisor.ts';
import { hollow, hollowable } from './hollow.ts';

/**
 * The contract suite once for each operation of a driver, each time with that one operation hollow. A group named like the
 * operation ends with its first failure: one is all that is asked for.
 */
export function describeHollow(module: HypervisorModule, fixture: ContractFixture): void {
  for (const operation of hollowable(module)) {
    // oxlint-disable-next-line vitest/valid-title -- it is one
    describe(operation, () => {
      let red = false;
      beforeEach(({ skip }) => {
        if (red) skip('the group has failed already');
        onTestFailed(() => {
          red = true;
        });
      });
      describeHypervisor(hollow(module, operation), fixture);
    });
  }
}
