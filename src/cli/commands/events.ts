import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LifeEvent, LifeEventType } from '../../sandbox/life-events.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { pastTime } from '../option-values.ts';
import { print } from '../output.ts';

interface EventsFlags {
  since?: Date;
  follow: boolean;
  filter?: Filter;
  json?: boolean;
}

/** What `--filter` asks for: each key's values are alternatives. */
interface Filter {
  event: string[];
  name: string[];
}

/** `polyvisor events` */
export function events(): Command {
  return newCommand('events', 'Prints what happens to VMs, whoever does it, a line each, until it is interrupted.', [
    'events',
    'events --since 1h --filter event=ended --filter name=web --json',
  ])
    .addOption(
      new Option(
        '--since <time>',
        'also what happened from then on to VMs that still are there: 10m for ten minutes ago, or 2026-01-31T12:00:00Z',
      ).argParser(pastTime),
    )
    .option('--no-follow', 'end when what is known has been printed')
    .addOption(
      new Option('--filter <key=value>', 'only these: event=TYPE or name=NAME; repeatable').argParser(addFilter),
    )
    .option('--json', 'print a JSON object on each line')
    .action((flags: EventsFlags) =>
      interruptible(async (interrupts) => {
        interrupts.endWithReader();
        const { signal } = interrupts;
        const { followEvents } = await import('../../sandbox/follow-events.ts');
        const { event = [], name = [] } = flags.filter ?? {};
        const types = event.length === 0 ? undefined : (event as LifeEventType[]);
        const { since = flags.follow ? undefined : new Date(0), follow } = flags;
        for await (const one of followEvents({ since, types, signal, follow })) {
          if (name.length > 0 && !name.includes(one.name)) continue;
          print(flags.json === true ? JSON.stringify(one) : eventLine(one));
        }
      }),
    );
}

/** An event as a line: when, what, which VM, and what else is known. */
export function eventLine({ at, event, name, id, hypervisor, ...facts }: LifeEvent): string {
  const known = Object.entries({ id, hypervisor, ...facts }).filter(([, value]) => value !== undefined);
  return `${at} ${event} ${name} (${known.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(', ')})`;
}

function addFilter(text: string, before: Filter = { event: [], name: [] }): Filter {
  const at = text.indexOf('=');
  const [key, value] = [text.slice(0, at), text.slice(at + 1)];
  if (value === '' || (key !== 'event' && key !== 'name')) {
    throw new InvalidArgumentError('It must be event=TYPE or name=NAME.');
  }
  if (key === 'event' && !eventTypes.includes(value)) {
    throw new InvalidArgumentError(`There is no such event; there are ${eventTypes.join(', ')}.`);
  }
  return { ...before, [key]: [...before[key], value] };
}

const eventTypes: readonly string[] = Object.keys({
  created: true,
  started: true,
  paused: true,
  resumed: true,
  renamed: true,
  adopted: true,
  detached: true,
  panicked: true,
  ended: true,
  removed: true,
} satisfies Record<LifeEventType, true>);
