import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { VmError } from '../../errors.ts';
import type { CopiedFiles, PutFilesOptions } from '../agent.ts';
import { deferred, type Deferred } from '../deferred.ts';
import { CANCEL_MS, copyError, copyScope, parseCopied, pathField } from './copy-request.ts';
import { encodeDataHeader, encodeFrame } from './frames.ts';
import { Input } from './input.ts';
import type { Session, StreamHandler } from './session.ts';
import { violation } from './violation.ts';
import { Channel, FrameType, Tag } from './wire.ts';

const MAX_TOP_BYTES = 255;

/** One PUT: an archive on its way into the guest. */
export class NativePut implements StreamHandler {
  readonly #session: Session;
  readonly #path: string;
  readonly #options: PutFilesOptions;
  readonly #payload: Buffer;
  readonly #input: Input;
  readonly #answer: Deferred<CopiedFiles> = deferred();
  #id = 0;
  /** the stream is not open, or not any more */
  #mute = true;
  #error: VmError | undefined;
  #cancelTimer: NodeJS.Timeout | undefined;

  /** @throws {VmError} INVALID_ARGUMENT */
  constructor(session: Session, target: string, options: PutFilesOptions) {
    this.#session = session;
    this.#path = target;
    this.#options = options;
    const fields = pathField('target', target);
    const { top } = options;
    if (top !== undefined) {
      const wrong = top === '' || top === '..' || /[/\0]/.test(top) || Buffer.byteLength(top) > MAX_TOP_BYTES;
      if (wrong)
        throw new VmError('INVALID_ARGUMENT', 'top: must be a single name', { operation: 'copy', field: 'top' });
      fields.text(Tag.TOP, top);
    }
    this.#payload = fields.finish();
    this.#input = new Input({
      get congested(): boolean {
        return session.congested;
      },
      data: (bytes) => this.#send(encodeDataHeader(this.#id, Channel.STDIN, bytes.length), bytes),
      end: () => this.#send(encodeDataHeader(this.#id, Channel.STDIN, 0)),
    });
  }

  /** Sends the archive; settles when the guest has it, or has nothing half-written of it any more. */
  async run(archive: AsyncIterable<Uint8Array>): Promise<CopiedFiles> {
    const scope = copyScope('the copy into the guest', this.#options);
    const stop = (): void => this.#giveUp(VmError.from(scope.signal.reason));
    scope.signal.addEventListener('abort', stop, { once: true });
    try {
      this.#id = this.#session.open(this);
      this.#mute = false;
      this.#send(encodeFrame(FrameType.PUT, this.#id, this.#payload));
      const source = Readable.from(archive, { objectMode: true, highWaterMark: 1 });
      await pipeline(source, this.#input.writable).catch((error: unknown) => this.#giveUp(VmError.from(error, 'IO')));
      // Ended by the caller after the last byte had left, the guest may have it all.
      return await this.#answer.promise;
    } catch (error) {
      throw (this.#error ?? VmError.from(error)).with({ operation: 'copy', path: this.#path });
    } finally {
      clearTimeout(this.#cancelTimer);
      scope.signal.removeEventListener('abort', stop);
      scope.release();
    }
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.CREDIT) {
      if (payload.length !== 5 || payload[0] !== Channel.STDIN) throw violation('a wrong CREDIT');
      this.#input.addCredit(payload.readUInt32LE(1));
    } else if (type === FrameType.DONE) {
      const copied = parseCopied(payload);
      this.#settle();
      this.#answer.resolve({ entries: copied.entries, bytes: copied.bytes });
    } else if (type === FrameType.ERROR) {
      const error = copyError(payload, this.#path);
      this.#error ??= error;
      this.#settle();
      this.#answer.reject(error);
    } else {
      throw violation(`a frame of type 0x${type.toString(16)} in answer to PUT`);
    }
  }

  onGone(error: VmError): void {
    this.#error ??= error;
    this.#settle();
    this.#answer.reject(error);
  }

  onDrain(): void {
    this.#input.pump();
  }

  onClosing(): void {
    this.#send(encodeFrame(FrameType.CANCEL, this.#id));
  }

  /** Has the guest drop what is half-written, and waits for its word on that, but not for long. */
  #giveUp(error: VmError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#send(encodeFrame(FrameType.CANCEL, this.#id));
    this.#input.writable.destroy(error);
    this.#cancelTimer = setTimeout(() => this.#answer.reject(error), CANCEL_MS);
  }

  #settle(): void {
    this.#mute = true;
    this.#input.close();
  }

  #send(...parts: readonly Buffer[]): void {
    if (!this.#mute) this.#session.send(...parts);
  }
}
