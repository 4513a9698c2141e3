import type { Readable } from 'node:stream';
import type { CallScope } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { GetFilesOptions, GuestArchive } from '../agent.ts';
import { deferred } from '../deferred.ts';
import { Output } from '../output.ts';
import { outputStream } from '../output-stream.ts';
import { CANCEL_MS, copyError, copyScope, parseCopied, pathField } from './copy-request.ts';
import { encodeCredit, encodeFrame } from './frames.ts';
import type { Session, StreamHandler } from './session.ts';
import { violation } from './violation.ts';
import { Channel, FrameType, Tag } from './wire.ts';

/** Bytes that may be on their way to us. */
const WINDOW = 1_048_576;

/** One GET: an archive on its way out of the guest. */
export class NativeGet implements GuestArchive, StreamHandler {
  readonly stream: Readable;
  readonly done: GuestArchive['done'];
  readonly #session: Session;
  readonly #path: string;
  readonly #output: Output;
  readonly #scope: CallScope;
  readonly #done = deferred<Awaited<GuestArchive['done']>>();
  #id = 0;
  #mute = true;
  #cancelTimer: NodeJS.Timeout | undefined;
  /** its end has come, though nobody reads it any more */
  #sawEnd = false;

  /** @throws {VmError} INVALID_ARGUMENT, BUSY, TIMEOUT, ABORTED; the session's failure */
  constructor(session: Session, path: string, options: GetFilesOptions) {
    this.#session = session;
    this.#path = path;
    const window = session.windowFor(WINDOW);
    const fields = pathField('source', path).int(Tag.CREDIT, window);
    if (options.followLink === true) fields.int(Tag.FOLLOW, 1);
    if (options.image === true) fields.int(Tag.IMAGE, 1);
    this.#scope = copyScope('the copy out of the guest', options);
    this.done = this.#done.promise;
    this.#output = new Output(window, { last: 0 }, (bytes) =>
      this.#send(encodeCredit(this.#id, Channel.STDOUT, bytes)),
    );
    this.stream = outputStream(this.#output);
    try {
      this.#id = session.open(this);
    } catch (error) {
      this.#scope.release();
      throw error;
    }
    this.#mute = false;
    this.#scope.signal.addEventListener('abort', this.#stop, { once: true });
    this.stream.once('close', () => this.#closed());
    this.#send(encodeFrame(FrameType.GET, this.#id, fields.finish()));
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.DATA) this.#onData(payload);
    else if (type === FrameType.DONE) {
      const counts = parseCopied(payload);
      // All of it was on its way when we gave up: then its end was, too.
      if (this.stream.destroyed && this.#sawEnd) return this.#fail(this.#whyLeft());
      if (!this.#output.ended) throw violation('DONE before the end of the archive');
      this.#settle();
      this.#done.resolve(counts);
    } else if (type === FrameType.ERROR) this.#fail(copyError(payload, this.#path));
    else throw violation(`a frame of type 0x${type.toString(16)} in answer to GET`);
  }

  onGone(error: VmError): void {
    this.#fail(
      new VmError(error.code, `the copy was lost: ${error.rawMessage}`, {
        operation: 'copy',
        path: this.#path,
        cause: error,
      }),
    );
  }

  onClosing(): void {
    this.#send(encodeFrame(FrameType.CANCEL, this.#id));
  }

  #onData(payload: Buffer): void {
    if (payload[0] !== Channel.STDOUT) throw violation('DATA on a channel that is not open');
    // What was on its way when we gave up.
    if (this.stream.destroyed && !this.#output.ended) {
      if (payload.length === 1) this.#sawEnd = true;
      return;
    }
    if (this.#output.ended) throw violation('DATA after the end of file');
    if (payload.length === 1) this.#output.end();
    else if (payload.length - 1 > this.#output.room) throw violation('more DATA than there is credit for');
    else this.#output.push(payload.subarray(1));
  }

  /** Whoever read the stream has left it, or has come to its end. */
  #closed(): void {
    if (this.#mute || this.#output.ended) return;
    this.#send(encodeFrame(FrameType.CANCEL, this.#id));
    const error = this.#whyLeft();
    this.#cancelTimer = setTimeout(() => this.#fail(error), CANCEL_MS);
  }

  #whyLeft(): VmError {
    return VmError.from(this.stream.errored ?? new VmError('ABORTED', 'nobody reads the archive any more'));
  }

  readonly #stop = (): void => {
    const error = VmError.from(this.#scope.signal.reason).with({ operation: 'copy', path: this.#path });
    this.stream.destroy(error);
    // The archive has ended, and only the guest's last word is missing.
    if (this.#output.ended) this.#fail(error);
  };

  #fail(error: VmError): void {
    const first = this.stream.errored === null ? error : VmError.from(this.stream.errored);
    this.#settle();
    this.#output.end(first);
    this.#done.reject(first);
  }

  #settle(): void {
    this.#mute = true;
    clearTimeout(this.#cancelTimer);
    this.#scope.signal.removeEventListener('abort', this.#stop);
    this.#scope.release();
  }

  #send(...parts: readonly Buffer[]): void {
    if (!this.#mute) this.#session.send(...parts);
  }
}
