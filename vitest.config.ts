import { defineConfig } from 'vitest/config';

// The long runs are asked for by name (npm run test:soak) and no part of an ordinary one.
const soak = process.argv.includes('soak');

// The path of a QEMU beside the host's (scripts/test).
const newerQemu = process.env['POLYVISOR_NEWER_QEMU'];
const onNewerQemu = [
  ...['qemu', 'devices', 'devices-machines', 'devices-served', 'resize', 'template', 'life', 'confinement'],
  ...['arm64', 'machines'],
];

// Every project runs in forked processes: the leak fixture compares a whole process before and after each test.
const shared = { pool: 'forks' as const, setupFiles: ['test/support/setup.ts'] };
/** What tests that boot real guests need beside. */
const guests = { env: { POLYVISOR_TEST_CACHE: 'user' }, globalSetup: ['test/support/vm-global-setup.ts'] };

export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/agent/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Each test strikes one process many times over: two files at once, and a sample of the points unless it is the soak.
        test: {
          ...shared,
          name: 'robust',
          include: ['test/crash/**/*.test.ts', 'test/model/**/*.test.ts'],
          maxWorkers: 2,
          env: { POLYVISOR_CRASH: soak ? 'all' : (process.env['POLYVISOR_CRASH'] ?? 'some') },
          testTimeout: soak ? 3_600_000 : 180_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // One file at a time and long limits: without KVM a guest is emulated and takes seconds to boot.
        test: {
          ...shared,
          name: 'vm',
          ...guests,
          include: ['test/vm/**/*.test.ts'],
          maxWorkers: 1,
          testTimeout: 180_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 2 },
        },
      },
      ...(newerQemu === undefined
        ? []
        : [
            {
              // What QEMU itself is asked to do, once more on another version of it.
              test: {
                ...shared,
                ...guests,
                name: 'newer-qemu',
                env: { ...guests.env, POLYVISOR_QEMU: newerQemu },
                include: onNewerQemu.map((name) => `test/vm/${name}.test.ts`),
                maxWorkers: 1,
                testTimeout: 180_000,
                hookTimeout: 300_000,
                sequence: { groupOrder: 3 },
              },
            },
          ]),
      ...(soak
        ? [
            {
              test: {
                ...shared,
                ...guests,
                name: 'soak',
                include: ['test/soak/**/*.test.ts'],
                maxWorkers: 1,
                testTimeout: 3_600_000,
              },
            },
          ]
        : []),
    ],
  },
});
