import type { FileHandle } from 'node:fs/promises';

/** Bytes read at a time. */
const blockBytes = 64 * 1024;
/** What is looked at of each line. */
const headBytes = 96;

/** A time near the beginning of a line, as QEMU (`-msg timestamp=on`) and our agent write it. */
const stamp = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z(?= )/;

/** Where the last lines of a log begin, found from its end. */
export async function startOfLastLines(log: FileHandle, lines: number): Promise<number> {
  const { size } = await log.stat();
  if (lines === 0) return size;
  const block = Buffer.alloc(blockBytes);
  let found = 0;
  for (let end = size; end > 0; end -= blockBytes) {
    const start = Math.max(0, end - blockBytes);
    const { bytesRead } = await log.read(block, 0, end - start, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      // The line feed that ends the last line begins no line.
      if (block[at] !== 0x0a || start + at === size - 1) continue;
      if (++found === lines) return start + at + 1;
    }
  }
  return 0;
}

/** Where the last lines begin that have a mark near their beginning. */
export async function startOfMarkedLines(log: FileHandle, lines: number, mark: string): Promise<number> {
  const starts: number[] = [];
  for await (const { start, head } of linesOf(log)) {
    if (head.includes(mark)) starts.push(start);
    if (starts.length > lines) starts.shift();
  }
  return starts[0] ?? (await log.stat()).size;
}

/**
 * Where a log begins when all that is surely older than a time is left out. Only some lines tell their time: one that does not is as
 * new as the next one that does and, after the last of these, as the file.
 */
export async function startOfTime(log: FileHandle, since: Date): Promise<number> {
  const { size, mtimeMs } = await log.stat();
  if (mtimeMs < since.getTime()) return size;
  let from = 0;
  for await (const { end, head } of linesOf(log)) {
    const written = Date.parse(stamp.exec(head)?.[0] ?? '');
    if (written >= since.getTime()) break;
    if (!Number.isNaN(written)) from = end;
  }
  return from;
}

/** The lines of a stream that have a mark near their beginning, each with its line feed. Of a very long line the beginning is given. */
export async function* markedLines(
  pieces: AsyncIterable<Buffer>,
  mark: string,
): AsyncGenerator<Buffer, void, undefined> {
  let line = Buffer.alloc(0);
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length;) {
      const feed = piece.indexOf(0x0a, at);
      const end = feed < 0 ? piece.length : feed + 1;
      const room = Math.max(0, blockBytes - line.length);
      line = Buffer.concat([line, piece.subarray(at, Math.min(end, at + room))]);
      at = end;
      if (feed < 0) continue;
      if (headOf(line).includes(mark)) yield line;
      line = Buffer.alloc(0);
    }
  }
  if (headOf(line).includes(mark)) yield line;
}

/** Every line that the log has now: where it begins and ends, and its first bytes. */
async function* linesOf(log: FileHandle): AsyncGenerator<{ start: number; end: number; head: string }> {
  const { size } = await log.stat();
  const block = Buffer.alloc(blockBytes);
  let [start, head] = [0, Buffer.alloc(0)];
  for (let position = 0; position < size;) {
    const { bytesRead } = await log.read(block, 0, blockBytes, position);
    if (bytesRead === 0) break;
    for (let at = 0; at < bytesRead;) {
      const feed = block.subarray(0, bytesRead).indexOf(0x0a, at);
      const end = feed < 0 ? bytesRead : feed + 1;
      head = Buffer.concat([
        head,
        block.subarray(at, Math.min(end, at + headBytes - Math.min(headBytes, head.length))),
      ]);
      at = end;
      if (feed < 0) continue;
      yield { start, end: position + end, head: headOf(head) };
      [start, head] = [position + end, Buffer.alloc(0)];
    }
    position += bytesRead;
  }
  if (start < size) yield { start, end: size, head: headOf(head) };
}

function headOf(line: Buffer): string {
  return line.toString('latin1', 0, headBytes);
}
