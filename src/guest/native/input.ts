import { Writable } from 'node:stream';
import { violation } from './violation.ts';
import { INPUT_CREDIT } from './wire.ts';

/** Longest piece of input in one frame, so that other streams get their turn. */
const PIECE_BYTES = 32_768;
/** Credit that no honest agent exceeds. */
const MAX_CREDIT = 0xffff_ffff;

export interface InputPort {
  readonly congested: boolean;
  data(bytes: Buffer): void;
  end(): void;
}

/** The input of a process: a stream that sends within the agent's credit, and while the channel takes it. */
export class Input {
  /** An end or a plain destroy is the end of file; destroying it with an error is not, as the input is then incomplete. */
  readonly writable: Writable;
  readonly #port: InputPort;
  #credit: number = INPUT_CREDIT;
  #pending: { data: Buffer; done: (error?: Error | null) => void } | undefined;
  #ended = false;

  constructor(port: InputPort) {
    this.#port = port;
    this.writable = new Writable({
      highWaterMark: INPUT_CREDIT,
      write: (data: Buffer, _encoding, done) => {
        this.#pending = { data, done };
        this.pump();
      },
      final: (done) => {
        this.#end();
        done();
      },
      destroy: (error, done) => {
        if (error === null) this.#end();
        this.#ended = true;
        const pending = this.#pending;
        this.#pending = undefined;
        if (pending !== undefined) process.nextTick(pending.done, error ?? new Error("the command's input is closed"));
        done(error);
      },
    });
    // Whoever runs the command learns of it otherwise.
    this.writable.on('error', () => {});
  }

  /** @throws {VmError} AGENT_PROTOCOL when it is more than can be */
  addCredit(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > MAX_CREDIT) throw violation('credit without bounds');
    this.pump();
  }

  /** Sends what may be sent now. */
  pump(): void {
    while (this.#pending !== undefined && this.#credit > 0 && !this.#port.congested) {
      const { data, done } = this.#pending;
      const length = Math.min(data.length, this.#credit, PIECE_BYTES);
      if (length > 0) this.#port.data(data.subarray(0, length));
      this.#credit -= length;
      if (length === data.length) {
        this.#pending = undefined;
        // Not here: what a user's listener throws must not end the session.
        process.nextTick(done);
      } else {
        this.#pending.data = data.subarray(length);
      }
    }
  }

  /** The process has ended. */
  close(): void {
    this.#ended = true;
    this.writable.destroy();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.end();
  }
}
