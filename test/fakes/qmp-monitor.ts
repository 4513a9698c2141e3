import { duplexPair } from 'node:stream';
import { connectQmp, type QmpClient } from '../../src/transports/qmp/client.ts';

/** What a monitor answers to a command: a value, an error in QEMU's words, or either with events that follow. */
export type QmpAnswer =
  | { value?: unknown; events?: readonly { event: string; data: object }[] }
  | { error: string; events?: undefined };

/** A monitor that answers what it is told, and notes what it was asked. */
export interface FakeMonitor {
  qmp: QmpClient;
  /** commands in their order, each with its arguments */
  readonly asked: readonly { execute: string; arguments?: Record<string, unknown> }[];
}

/** @param answer to each command; what it leaves out is answered with an empty object */
export async function fakeMonitor(
  answer: (command: string, args: Record<string, unknown>) => QmpAnswer | undefined,
): Promise<FakeMonitor> {
  const [ours, theirs] = duplexPair();
  const say = (message: object): void => void theirs.write(`${JSON.stringify(message)}\n`);
  const asked: { execute: string; arguments?: Record<string, unknown> }[] = [];
  let rest = '';
  theirs.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString()}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { execute, id, ...more } = JSON.parse(line) as (typeof asked)[number] & { id: string };
      if (execute !== 'qmp_capabilities') asked.push({ execute, ...more });
      const told = answer(execute, more.arguments ?? {}) ?? {};
      if ('error' in told) say({ error: { class: 'GenericError', desc: told.error }, id });
      else say({ return: told.value ?? {}, id });
      for (const event of told.events ?? []) say({ ...event, timestamp: { seconds: 1, microseconds: 0 } });
    }
  });
  say({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: '' }, capabilities: [] } });
  return { qmp: await connectQmp(ours), asked };
}
