import { appendFileSync, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { VmError } from '../errors.ts';
import { writeAtomically } from './atomic-file.ts';

/** A log is cut to its later half when it grows beyond this: thousands of events. */
const maxBytes = 256 * 1024;

/** Adds a line to a log of events. Each line is written at once, so that lines of several processes don't mix. */
export async function appendEvent(file: string, event: object): Promise<void> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
  let size: number;
  try {
    const fd = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      appendFileSync(fd, `${JSON.stringify(event)}\n`);
      size = fstatSync(fd).size;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't write ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
  if (size <= maxBytes) return;
  const lines = (await readFile(file, 'utf8')).split('\n');
  await writeAtomically(file, lines.slice(Math.floor(lines.length / 2)).join('\n'));
}

/** Where a reader of a log is. */
export interface LogPosition {
  /** another file of the same name begins anew */
  inode: number;
  offset: number;
}

/**
 * The events after a position, and the position after them. Lines that are no JSON object are passed over: a crash may have cut one.
 * A log that is not there has none.
 */
export function readEvents(file: string, from?: LogPosition): { events: object[]; position: LogPosition | undefined } {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return { events: [], position: from };
  }
  try {
    const { ino, size } = fstatSync(fd);
    const start = from?.inode === ino && from.offset <= size ? from.offset : 0;
    const buffer = Buffer.alloc(Math.min(size - start, 2 * maxBytes));
    const text = buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, start));
    // What follows the last line feed is still being written.
    const whole = text.subarray(0, text.lastIndexOf(0x0a) + 1);
    const events = whole.toString('utf8').split('\n').flatMap(parsed);
    return { events, position: { inode: ino, offset: start + whole.length } };
  } finally {
    closeSync(fd);
  }
}

function parsed(line: string): object[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? [value] : [];
  } catch {
    return [];
  }
}
