import { type Command, InvalidArgumentError, Option } from 'commander';
import { VmError } from '../../errors.ts';
import type { PublishedPort } from '../../sandbox/ports.ts';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';
import { table } from '../table.ts';

interface PortFlags {
  json?: boolean;
  serve?: string;
}

/** `polyvisor port` */
export function port(): Command {
  return newCommand('port', 'Prints the ports of this host that lead into a VM.', ['port web', 'port web 80'])
    .argument('<name>', 'name of a VM')
    .argument(
      '[guest]',
      'only those that lead to this port of the guest; prints where they are on this host',
      guestPort,
    )
    .addOption(new Option('--serve <id>', 'be the process that forwards them').hideHelp())
    .option('--json', 'print a JSON array')
    .action(async (name: string, guest: number | undefined, { json, serve }: PortFlags) => {
      if (serve !== undefined) return servePorts(name, serve);
      const { portsOf } = await import('../../sandbox/ports.ts');
      const all = await portsOf(name);
      const ports = guest === undefined ? all : all.filter((it) => it.guest.endsWith(`:${guest}`));
      if (guest !== undefined && ports.length === 0) {
        throw new VmError('NOT_FOUND', `no port of this host leads to port ${guest} of ${name}`, {
          name,
          advice: 'Ports are forwarded with `polyvisor run -p`.',
        });
      }
      if (json === true) printJson(ports);
      else if (guest !== undefined) for (const it of ports) print(hostOf(it));
      else
        print(
          table(
            ['HOST', 'GUEST', 'PID'],
            ports.map((it) => [hostOf(it), it.guest, String(it.pid)]),
          ),
        );
    });
}

/** Forwards until the VM ends. */
async function servePorts(name: string, id: string): Promise<void> {
  const { Vm } = await import('../../sandbox/vm.ts');
  const { runForwarder } = await import('../../sandbox/forwarder.ts');
  const { parsePortSpec } = await import('../../sandbox/port-spec.ts');
  await runForwarder({ id, name }, async (specs) => {
    const vm = await Vm.connect(name);
    try {
      if (vm.id !== id) throw new VmError('NOT_FOUND', `${name} is another VM now`, { name });
      for (const spec of specs) await vm.forwardPort(parsePortSpec(spec));
    } catch (error) {
      await vm.close();
      throw error;
    }
    return { ended: vm.agent.closed, close: () => vm.close() };
  });
}

function hostOf({ hostAddress, hostPort }: PublishedPort): string {
  if (hostPort === undefined) return hostAddress;
  return `${hostAddress.includes(':') ? `[${hostAddress}]` : hostAddress}:${hostPort}`;
}

function guestPort(text: string): number {
  const number = Number(text.replace(/\/tcp$/, ''));
  if (Number.isInteger(number) && number > 0 && number < 65_536) return number;
  throw new InvalidArgumentError('It must be a port.');
}
