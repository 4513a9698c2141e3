import { defineConfig } from 'vitest/config';

/** A run of its own, started by test/contract/hollow.test.ts, in which every group has to fail. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/contract/hollow/*.hollow.ts'],
    reporters: ['./test/contract/hollow/group-reporter.ts'],
    // Enough for a small program that runs; an operation that is not done is often missed by waiting in vain.
    testTimeout: 6000,
    hookTimeout: 6000,
  },
});
