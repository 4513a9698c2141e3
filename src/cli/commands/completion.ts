import { Argument, type Command } from 'commander';
import { newCommand } from '../command.ts';
import type { CompletedCommand } from '../completion/tree.ts';

type Shell = 'bash' | 'zsh' | 'fish';

/** `polyvisor completion`; the program must have been loaded with all its commands. */
export function completion(): Command {
  return newCommand('completion', "Prints a shell's completion: commands, options, and the names of VMs and images.", [
    'completion bash > ~/.local/share/bash-completion/completions/polyvisor',
    'completion zsh > ~/.zfunc/_polyvisor',
    'completion fish > ~/.config/fish/completions/polyvisor.fish',
  ])
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell, _flags: unknown, self: Command) => {
      const { completionTree } = await import('../completion/tree.ts');
      if (self.parent === null) throw new Error('completion is a command of the program');
      process.stdout.write(await scriptFor(shell, completionTree(self.parent)));
    });
}

async function scriptFor(shell: Shell, program: CompletedCommand): Promise<string> {
  if (shell === 'bash') return (await import('../completion/bash.ts')).bashCompletion(program);
  if (shell === 'zsh') return (await import('../completion/zsh.ts')).zshCompletion(program);
  return (await import('../completion/fish.ts')).fishCompletion(program);
}
