import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { CopiedFiles, GuestAgent } from '../../guest/agent.ts';
import { printable } from '../../guest/printable.ts';
import { TarReader } from '../../transports/tar/reader.ts';
import { ArchiveRules, type CopyLimits } from './archive-rules.ts';
import { HostArchive, type PackOptions } from './pack.ts';
import { unpackArchive } from './unpack.ts';

/** How files are copied into the guest, or out of it. */
export interface CopyOptions extends CallOptions {
  /**
   * keep owners, as numbers, where the receiving side may give files away; and, out of a guest, set-user-id and set-group-id bits.
   * Default false: what is copied belongs to root in the guest and to the caller on the host
   */
  archive?: boolean | undefined;
  /** a link that is the source itself stands for what it points to; default false */
  followLink?: boolean | undefined;
}

/** How files are copied out of the guest. */
export interface CopyOutOptions extends CopyOptions {
  /** COPY_LIMIT above them */
  limits?: CopyLimits | undefined;
}

/** Copies into a guest; the docstring is at Vm.copyIn. @param options onEntry: hears of what goes in, and of what it is here */
export async function copyIn(
  agent: GuestAgent,
  source: string | Readable,
  target: string,
  options: CopyOptions & Pick<PackOptions, 'onEntry'> = {},
): Promise<CopiedFiles> {
  const { signal, timeoutMs, archive = false, followLink = false, onEntry } = options;
  const to = guestPath('target', target);
  if (typeof source !== 'string') return await agent.putFiles(source, to, { signal, timeoutMs });
  if (source === '') throw new VmError('INVALID_ARGUMENT', 'source: must not be empty', { field: 'source' });
  const top = topOf(path.resolve(source), source);
  const files = new HostArchive(source, { top, archive, followLink, onEntry });
  const copied = await agent.putFiles(files, to, { signal, timeoutMs, top });
  refuseSkipped(files.skippedCount, files.skipped[0] ?? '');
  return copied;
}

/** Copies out of a guest; the docstring is at Vm.copyOut. */
export async function copyOut(
  agent: GuestAgent,
  source: string,
  target: string | Writable,
  options: CopyOutOptions = {},
): Promise<CopiedFiles> {
  const { signal, timeoutMs, archive = false, followLink = false, limits } = options;
  const from = guestPath('source', source);
  if (target === '') throw new VmError('INVALID_ARGUMENT', 'target: must not be empty', { field: 'target' });
  const rules = new ArchiveRules(Buffer.from(topOf(from, from)).toString('latin1'), checkedLimits(limits));
  const scope = callScope('the copy out of the guest', { signal, timeoutMs });
  try {
    const { stream, done } = agent.getFiles(from, { signal: scope.signal, followLink });
    try {
      if (typeof target === 'string') await unpackArchive(stream, target, rules, archive);
      else await pipeline(checked(stream, rules), target);
      const { skipped, firstSkipped } = await done;
      refuseSkipped(skipped, firstSkipped);
    } catch (error) {
      stream.destroy();
      // The guest is done with it too, before the caller goes on.
      await done.catch(() => undefined);
      throw error;
    }
    return { entries: rules.entries, bytes: rules.bytes };
  } catch (error) {
    throw VmError.from(error, 'IO').with({ operation: 'copy' });
  } finally {
    scope.release();
  }
}

/** Each piece goes on only after the rules have passed all that begins in it. */
async function* checked(stream: Readable, rules: ArchiveRules): AsyncGenerator<Buffer, void, undefined> {
  const reader = new TarReader();
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    for (const event of reader.push(chunk)) if (event !== 'end' && 'entry' in event) rules.place(event.entry);
    yield chunk;
  }
  reader.finish();
}

/** Paths of a guest are meant from its root, wherever a shell there would be. */
function guestPath(field: string, text: string): string {
  if (text === '') throw new VmError('INVALID_ARGUMENT', `${field}: must not be empty`, { field });
  if (/(^|\/)\.\.\/*$/.test(text)) throw new VmError('INVALID_ARGUMENT', `${field}: must not end with ..`, { field });
  return text.startsWith('/') ? text : `/${text}`;
}

/** The name of an archive's one entry: the path's last, or `.` for what is in the folder. */
function topOf(absolute: string, written: string): string {
  return /(^|\/)\.\/*$/.test(written) ? '.' : path.posix.basename(absolute) || '.';
}

function checkedLimits(limits: CopyLimits = {}): CopyLimits {
  for (const [name, value] of Object.entries(limits)) {
    if (value === undefined || (Number.isSafeInteger(value) && value > 0)) continue;
    const field = `limits.${name}`;
    throw new VmError('INVALID_ARGUMENT', `${field}: must be a whole number above 0, not ${value}`, { field });
  }
  return limits;
}

function refuseSkipped(count: number, first: string): void {
  if (count === 0) return;
  const names = count === 1 ? printable(first) : `${printable(first)} and ${count - 1} more`;
  throw new VmError('COPY_INCOMPLETE', `all was copied but sockets, fifos and devices: ${names}`, {
    operation: 'copy',
  });
}
