import { type Command, InvalidArgumentError, Option } from 'commander';
import { VmError } from '../errors.ts';
import { parsePortSpec } from '../sandbox/port-spec.ts';

/** What a command line says about ports. */
export interface PortFlags {
  publish?: string[];
}

/** Gives a command the option that forwards ports. */
export function addPortFlag(command: Command): Command {
  return command.addOption(
    new Option(
      '-p, --publish <port>',
      'forward a port of this host: [addr:]host:guest, on 127.0.0.1 unless addr says otherwise; host may be left out (repeatable)',
    ).argParser(collectPorts),
  );
}

function collectPorts(text: string, before: string[] | undefined): string[] {
  try {
    parsePortSpec(text);
  } catch (error) {
    if (error instanceof VmError) throw new InvalidArgumentError(`${error.rawMessage}. ${error.advice}`);
    throw error;
  }
  return [...(before ?? []), text];
}
