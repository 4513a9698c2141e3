import { defineConfig } from 'vitest/config';

/** A run of its own, started by test/unit/support/wiring.test.ts, whose tests leak on purpose. */
export default defineConfig({
  test: {
    pool: 'forks',
    setupFiles: ['test/support/setup.ts'],
    include: ['test/support/wiring/*.test.ts'],
    reporters: ['default', './test/support/summary-reporter.ts'],
  },
});
