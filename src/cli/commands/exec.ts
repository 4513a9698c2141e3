import type { Command } from 'commander';
import { attach } from '../attach.ts';
import { newCommand } from '../command.ts';
import { addExecFlags, type ExecFlags, execOptions } from '../exec-flags.ts';
import { interruptible } from '../interrupts.ts';
import { needTerminal } from './run.ts';

/** `polyvisor exec` */
export function exec(): Command {
  const command = newCommand('exec', 'Runs a command in a VM that runs.', [
    'exec web ps',
    'exec -it web sh',
    "exec -w /tmp web -- sh -c 'cat > upload' -i < file",
  ])
    .argument('<name>', 'name of the VM')
    .argument('<command...>', 'the command and its arguments; options after the name are its own')
    .passThroughOptions();
  addExecFlags(command, 'most time for the command').action(execInVm);
  return command;
}

async function execInVm(name: string, words: string[], flags: ExecFlags): Promise<void> {
  needTerminal(flags);
  execOptions(flags);
  const argv = words[0] === '--' ? words.slice(1) : words;
  const { Vm } = await import('../../sandbox/vm.ts');
  await interruptible(async (interrupts) => {
    const vm = await Vm.connect(name, { signal: interrupts.signal });
    try {
      await attach(vm, { argv, flags, interrupts, timeoutMs: flags.timeout });
    } finally {
      await vm.close();
    }
  });
}
