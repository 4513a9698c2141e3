import type { Command } from 'commander';
import { VmError } from '../../errors.ts';
import { attach } from '../attach.ts';
import { newCommand } from '../command.ts';
import { addProcessFlags, type ExecFlags, execOptions } from '../exec-flags.ts';
import { interruptible } from '../interrupts.ts';

/** `polyvisor shell` */
export function shell(): Command {
  const command = newCommand('shell', 'Opens a login shell in a VM that runs: bash where the guest has it, else sh.', [
    'shell web',
    'shell -u user -w /tmp web',
  ]).argument('<name>', 'name of the VM');
  return addProcessFlags(command).action(async (name: string, flags: ExecFlags) => {
    if (!process.stdin.isTTY) {
      throw new VmError('INVALID_ARGUMENT', 'stdin is no terminal, as a shell needs', {
        advice: `To pipe commands in: \`polyvisor exec -i ${name} sh\`.`,
      });
    }
    execOptions(flags);
    const [{ Vm }, { loginShell }] = await Promise.all([
      import('../../sandbox/vm.ts'),
      import('../../sandbox/shell.ts'),
    ]);
    await interruptible(async (interrupts) => {
      const vm = await Vm.connect(name, { signal: interrupts.signal });
      try {
        const onTerminal = { ...flags, interactive: true, tty: true };
        await attach(vm, { argv: loginShell, flags: onTerminal, interrupts, timeoutMs: undefined });
      } finally {
        await vm.close();
      }
    });
  });
}
