import type { ExecOptions } from '../guest/agent.ts';

/** How a shell is run: all that a command takes but its terminal's absence. */
export type ShellOptions = Omit<ExecOptions, 'detach'>;

/** A login shell: bash where the guest has it, else sh. */
export const loginShell: readonly string[] = [
  '/bin/sh',
  '-c',
  'if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi',
];
