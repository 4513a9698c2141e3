import type { GuestEvent } from '../agent.ts';
import { printable } from '../printable.ts';
import { Fields } from './fields.ts';
import { violation } from './violation.ts';
import { MAX_MESSAGE_BYTES, PROTOCOL_VERSION, Tag } from './wire.ts';

const MAX_FEATURES_BYTES = 2048;
const MAX_NAME_BYTES = 128;

/** What an agent says of itself. */
export interface Hello {
  features: ReadonlySet<string>;
  agent: string;
  bootId: string;
}

/** @throws {VmError} AGENT_PROTOCOL when it is of another version, or not as specified */
export function parseHello(payload: Buffer): Hello {
  const fields = new Fields(payload);
  const version = fields.int(Tag.VERSION);
  if (version !== PROTOCOL_VERSION) throw violation(`it speaks version ${version}, not ${PROTOCOL_VERSION}`);
  const features = fields
    .text(Tag.FEATURES, MAX_FEATURES_BYTES)
    .split(' ')
    .filter((name) => name !== '');
  if (!features.every((name) => /^[a-z0-9][a-z0-9._-]*$/.test(name))) throw violation('a feature has no proper name');
  return {
    features: new Set(features),
    agent: printable(fields.text(Tag.AGENT, MAX_NAME_BYTES)),
    bootId: printable(fields.text(Tag.BOOT_ID, MAX_NAME_BYTES)),
  };
}

/** Undefined for an event of a later version. */
export function parseEvent(payload: Buffer): GuestEvent | undefined {
  const fields = new Fields(payload);
  const event = fields.text(Tag.EVENT, MAX_NAME_BYTES);
  const message = printable(fields.message(Tag.MESSAGE, MAX_MESSAGE_BYTES), MAX_MESSAGE_BYTES);
  return event === 'shutdown' || event === 'oom' || event === 'log' ? { event, message } : undefined;
}
