import { type Command, InvalidArgumentError, Option } from 'commander';
import { VmError } from '../errors.ts';
import type { DeviceSpec } from '../sandbox/device-spec.ts';
import { parseDisk, parseFolder, parseMount, parseNet } from '../sandbox/device-text.ts';

/** What a command line says about devices that a VM starts with. */
export interface DeviceFlags {
  volume?: DeviceSpec[];
  mount?: DeviceSpec[];
  disk?: DeviceSpec[];
  net?: DeviceSpec[];
}

/** Gives a command the options about devices. */
export function addDeviceFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        '-v, --volume <folder>',
        'share a folder of this host, HOST:GUEST[:ro], mounted in the guest (repeatable)',
      ).argParser(collecting(parseFolder)),
    )
    .addOption(
      new Option(
        '--mount <folder>',
        'the same as type=bind,source=HOST,target=GUEST[,readonly] [,driver=virtio-fs|virtio-9p][,id=ID] (repeatable)',
      ).argParser(collecting(parseMount)),
    )
    .addOption(
      new Option('--disk <file>', 'a disk, FILE[:qcow2][:ro]; raw and writable by default (repeatable)').argParser(
        collecting(parseDisk),
      ),
    )
    .addOption(
      new Option('--net <network>', 'none (default), user, tap=NAME or macvtap=NAME (repeatable)').argParser(
        collecting(parseNet),
      ),
    );
}

/** All devices of a command line, undefined when it names none. */
export function devicesOf({ volume = [], mount = [], disk = [], net = [] }: DeviceFlags): DeviceSpec[] | undefined {
  const all = [...disk, ...net, ...volume, ...mount];
  return all.length === 0 ? undefined : all;
}

function collecting(parse: (text: string) => DeviceSpec | undefined) {
  return (text: string, before: DeviceSpec[] | undefined): DeviceSpec[] => {
    const spec = orUsageError(() => parse(text));
    return [...(before ?? []), ...(spec === undefined ? [] : [spec])];
  };
}

/** A word that can't be read is a mistake on the command line. */
export function orUsageError<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof VmError) throw new InvalidArgumentError(`${error.rawMessage}. ${error.advice}`);
    throw error;
  }
}
