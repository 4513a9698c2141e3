import { VmError } from '../../errors.ts';
import type { ExecRequest } from '../exec-request.ts';
import { FieldWriter } from './fields.ts';
import { encodeDataHeader, encodeFrame } from './frames.ts';
import { Channel, FrameType, INPUT_CREDIT, MAX_PAYLOAD, Tag } from './wire.ts';

/** Bytes of each output that the agent may send before credit comes: the protocol's default. */
export const OUTPUT_WINDOW = 262_144;

/**
 * SPAWN's payload.
 * @param window bytes of each output that the agent may send before credit comes
 * @throws {VmError} INVALID_ARGUMENT when the arguments and the environment don't fit a frame
 */
export function spawnPayload(request: ExecRequest, window: number = OUTPUT_WINDOW): Buffer {
  const fields = new FieldWriter();
  for (const arg of request.argv) fields.text(Tag.ARG, arg);
  for (const variable of request.env) fields.text(Tag.ENV, variable);
  if (request.cwd !== undefined) fields.text(Tag.CWD, request.cwd);
  if (request.user !== undefined) fields.text(Tag.USER, request.user);
  if (request.pty !== undefined) {
    fields.int(Tag.PTY, 1).int(Tag.ROWS, request.pty.rows).int(Tag.COLS, request.pty.cols);
  }
  if (request.stdin !== 'ignore') fields.int(Tag.STDIN, 1);
  if (request.detach) fields.int(Tag.DETACH, 1);
  if (request.timeoutMs !== undefined) fields.int(Tag.TIMEOUT_MS, request.timeoutMs);
  if (request.maxPids !== undefined) fields.int(Tag.MAX_PIDS, request.maxPids);
  if (request.maxMemoryBytes !== undefined) fields.int(Tag.MAX_MEMORY, request.maxMemoryBytes);
  if (request.maxCpuThousandths !== undefined) fields.int(Tag.MAX_CPU, request.maxCpuThousandths);
  fields.int(Tag.CREDIT, window);
  if (fields.length > MAX_PAYLOAD) {
    throw new VmError(
      'INVALID_ARGUMENT',
      `the command and its environment take ${fields.length} bytes; at most ${MAX_PAYLOAD} fit`,
      {
        operation: 'exec',
        field: 'command',
        advice: 'Send long texts through stdin.',
      },
    );
  }
  return fields.finish();
}

/** Whether all of the input goes out together with SPAWN. */
export function fitsWithSpawn(stdin: ExecRequest['stdin']): stdin is Buffer {
  return Buffer.isBuffer(stdin) && stdin.length < Math.min(INPUT_CREDIT, MAX_PAYLOAD);
}

/** SPAWN, and the input when it is small: in one piece, so that it is one write. */
export function spawnFrames(id: number, payload: Buffer, stdin: ExecRequest['stdin']): Buffer {
  const parts = [encodeFrame(FrameType.SPAWN, id, payload)];
  if (fitsWithSpawn(stdin)) {
    if (stdin.length > 0) parts.push(encodeDataHeader(id, Channel.STDIN, stdin.length), stdin);
    parts.push(encodeDataHeader(id, Channel.STDIN, 0));
  }
  return Buffer.concat(parts);
}
