import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Duplex, Duplex as DuplexStream, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { VmError } from '../../errors.ts';
import { hostError } from './host-error.ts';
import type { FileRange } from './tree.ts';

/** How the content of a file is packed. */
export type Packing = 'none' | 'gzip' | 'zstd';

/** What content must be, and how much of it there may be. */
export interface SpoolOptions {
  /** SHA-256 of the content as it is, packed; not checked when absent */
  sha256?: string | undefined;
  /** SHA-256 of the content when it is unpacked; not checked when absent */
  unpackedSha256?: string | undefined;
  /** bytes of the unpacked content at most */
  maxBytes: number;
  signal?: AbortSignal | undefined;
  /** told how many bytes of the packed content have been read */
  onRead?: ((bytes: number) => void) | undefined;
}

const pieceBytes = 1 << 20;

/** How content is packed, by its first bytes. @throws {VmError} UNSUPPORTED for bzip2, xz and the like */
export function packingOf(head: Buffer): Packing {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length >= 4 && head.readUInt32LE(0) === 0xfd2f_b528) return 'zstd';
  const magic = head.toString('latin1', 0, 6);
  if (magic.startsWith('BZh') || magic === '\u00fd7zXZ\0')
    throw new VmError('UNSUPPORTED', 'the file is packed by bzip2 or xz', {
      advice: 'Unpack it first, or use gzip or zstd.',
    });
  return 'none';
}

/** The first bytes of a part of a file. @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE */
export async function readHead({ file, offset, size }: FileRange, length: number): Promise<Buffer> {
  try {
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(Math.min(length, size)),
        0,
        Math.min(length, size),
        offset,
      );
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw hostError(file, cause);
  }
}

/**
 * Verifies a part of a file and unpacks it into a new file, unless it isn't packed: then it stays where it is.
 * @param target where the unpacked content goes
 * @throws {VmError} IMAGE_INVALID for a wrong digest, damaged content or too much of it; HOST_MISSING without zstd; IO, ABORTED
 */
export async function spool(source: FileRange, target: string, options: SpoolOptions): Promise<FileRange> {
  const packing = packingOf(await readHead(source, 8));
  if (packing === 'none' && source.size > options.maxBytes) throw tooLarge(options.maxBytes);
  if (packing === 'none' && options.sha256 === undefined && options.unpackedSha256 === undefined) return source;
  let unpacked = 0;
  const unpackedHash = createHash('sha256');
  const bounded = new Transform({
    highWaterMark: pieceBytes,
    transform(piece: Buffer, _, done) {
      unpacked += piece.length;
      if (options.unpackedSha256 !== undefined) unpackedHash.update(piece);
      done(unpacked > options.maxBytes ? tooLarge(options.maxBytes) : null, piece);
    },
  });
  const hash = createHash('sha256');
  let read = 0;
  const watched = new Transform({
    transform(piece: Buffer, _, done) {
      hash.update(piece);
      read += piece.length;
      options.onRead?.(piece.length);
      done(null, packing === 'none' ? undefined : piece);
    },
  });
  const { file, offset, size } = source;
  if (size === 0) throw new VmError('IMAGE_INVALID', `${file} is empty`, { path: file });
  const input = createReadStream(file, { start: offset, end: offset + size - 1, highWaterMark: pieceBytes });
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  try {
    if (packing === 'none') {
      watched.resume();
      await pipeline(input, watched, signal);
    } else {
      const out = createWriteStream(target, { flags: 'wx', mode: 0o600, highWaterMark: 4 * pieceBytes });
      await pipeline(input, watched, unpacker(packing), bounded, out, signal);
    }
  } catch (cause) {
    if (cause instanceof VmError) throw cause;
    if (options.signal?.aborted === true) throw VmError.from(options.signal.reason, 'ABORTED');
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG' || code === 'EIO')
      throw new VmError('IO', `cannot write ${target}: ${message}`, { path: target, errno: code, cause });
    throw new VmError('IMAGE_INVALID', `${file} cannot be unpacked: ${message}`, { path: file, cause });
  }
  if (read < size) throw new VmError('IMAGE_INVALID', `${file} is cut short`, { path: file });
  const digest = hash.digest('hex');
  checkDigest(file, digest, options.sha256);
  checkDigest(file, packing === 'none' ? digest : unpackedHash.digest('hex'), options.unpackedSha256);
  return packing === 'none' ? source : { file: target, offset: 0, size: unpacked };
}

function checkDigest(file: string, found: string, wanted: string | undefined): void {
  if (wanted === undefined || found === wanted) return;
  throw new VmError('IMAGE_INVALID', `a layer has the digest sha256:${found}, not sha256:${wanted}`, { path: file });
}

function tooLarge(maxBytes: number): VmError {
  return new VmError('IMAGE_INVALID', `the content is larger than ${maxBytes} bytes`, {
    advice: 'Allow more with `maxBytes` (`--max-size`), if you trust whoever made it.',
  });
}

/** Node has zstd since 22.15; before, the host's program does it. */
function unpacker(packing: 'gzip' | 'zstd'): Duplex {
  if (packing === 'gzip') return zlib.createGunzip({ chunkSize: 256 * 1024 });
  const own = (zlib as { createZstdDecompress?: () => Duplex }).createZstdDecompress;
  return own === undefined ? program('zstd', ['-dcq']) : own();
}

function program(name: string, args: readonly string[]): Duplex {
  const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-1024);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (cause) => reject(new VmError('HOST_MISSING', `this host has no program ${name}`, { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(words.trim() === '' ? `${name} ended with ${code}` : words.trim()));
    });
  });
  ended.catch(() => undefined);
  // The program's own end tells more than a broken pipe does.
  child.stdin.on('error', () => undefined);
  async function* output(): AsyncGenerator<Buffer> {
    for await (const piece of child.stdout as AsyncIterable<Buffer>) yield piece;
    await ended;
  }
  const stream = DuplexStream.from({ writable: child.stdin, readable: output() });
  stream.on('close', () => child.kill());
  return stream;
}
