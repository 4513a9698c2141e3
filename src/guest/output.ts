/** Pieces below this are copied and put together: a guest that sends single bytes must not make one object of each. */
const SMALL_BYTES = 1024;
const SLAB_BYTES = 16_384;
/** Above this many pieces, putting together goes before the order between stdout and stderr. */
const MANY_PIECES = 1024;

/** Counts the pieces of both outputs of a process, so that their order is known. */
export interface OutputOrder {
  last: number;
}

interface Piece {
  seq: number;
  data: Buffer;
  /** memory that `data` begins and that later small pieces may be added to */
  slab: Buffer | undefined;
}

/**
 * One output of a process in the guest, between its agent and whoever takes it. Holds at most the window: credit goes back to the
 * agent only as pieces are taken, and in batches of a quarter window.
 */
export class Output {
  readonly #window: number;
  readonly #grant: (bytes: number) => void;
  readonly #order: OutputOrder;
  #pieces: Piece[] = [];
  #head = 0;
  #queuedBytes = 0;
  /** what the agent has sent and has no credit back for */
  #outstanding = 0;
  /** the part of it that was taken */
  #takenBytes = 0;
  #mode: 'keep' | 'let-go' | 'discard' = 'keep';
  #ended = false;
  #error: Error | undefined;
  #listener: (() => void) | undefined;

  /**
   * @param window bytes that the agent may have outstanding
   * @param grant gives the agent that much more credit
   */
  constructor(window: number, order: OutputOrder, grant: (bytes: number) => void) {
    this.#window = window;
    this.#order = order;
    this.#grant = grant;
  }

  /** bytes that the agent may still send */
  get room(): number {
    return this.#window - this.#outstanding;
  }

  /** No more will come; what is queued can still be taken. */
  get ended(): boolean {
    return this.#ended;
  }

  /** why it ended, unless the process did */
  get error(): Error | undefined {
    return this.#error;
  }

  /** place of the oldest piece among those of both outputs; Infinity when there is none */
  get headSeq(): number {
    return this.#pieces[this.#head]?.seq ?? Infinity;
  }

  /** For the agent's side, which has checked `room`. */
  push(data: Buffer): void {
    if (this.#ended || data.length === 0) return;
    this.#outstanding += data.length;
    if (this.#mode !== 'keep') {
      this.#giveBack(data.length);
      if (this.#mode === 'discard' || this.#queuedBytes + data.length > this.#window) return;
    }
    this.#queuedBytes += data.length;
    this.#append(data);
    this.#listener?.();
  }

  /** For the agent's side: the end of file, or the end of the process. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#listener?.();
  }

  /** The oldest piece. */
  take(): Buffer | undefined {
    const piece = this.#pieces[this.#head];
    if (piece === undefined) return undefined;
    this.#head += 1;
    if (this.#head === this.#pieces.length) {
      this.#pieces = [];
      this.#head = 0;
    } else if (this.#head >= MANY_PIECES) {
      this.#pieces.splice(0, this.#head);
      this.#head = 0;
    }
    this.#queuedBytes -= piece.data.length;
    if (this.#mode === 'keep') this.#giveBack(piece.data.length);
    return piece.data;
  }

  /** Calls back whenever there may be something to take, and at the end; once soon when there is already. */
  listen(listener: () => void): void {
    this.#listener = listener;
    if (this.#ended || this.#head < this.#pieces.length) queueMicrotask(listener);
  }

  /** From now on the agent gets its credit back at once, so that it can come to an end; what nobody takes in time is dropped. */
  letGo(): void {
    if (this.#mode !== 'keep') return;
    this.#mode = 'let-go';
    this.#takenBytes = this.#outstanding;
    this.#flush();
  }

  /** Drops all that is queued and all that comes. */
  discard(): void {
    this.letGo();
    this.#mode = 'discard';
    this.#pieces = [];
    this.#head = 0;
    this.#queuedBytes = 0;
  }

  #giveBack(bytes: number): void {
    this.#takenBytes += bytes;
    if (this.#takenBytes >= this.#window / 4) this.#flush();
  }

  #flush(): void {
    const credit = this.#takenBytes;
    if (this.#ended || credit === 0) return;
    this.#takenBytes = 0;
    this.#outstanding -= credit;
    this.#grant(credit);
  }

  #append(data: Buffer): void {
    const tail = this.#pieces[this.#pieces.length - 1];
    const many = this.#pieces.length - this.#head >= MANY_PIECES;
    if (tail !== undefined && data.length < SMALL_BYTES && (tail.seq === this.#order.last || many)) {
      const used = tail.data.length;
      if (tail.slab !== undefined && tail.slab.length - used >= data.length) {
        data.copy(tail.slab, used);
        tail.data = tail.slab.subarray(0, used + data.length);
        return;
      }
      const slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      data.copy(slab);
      this.#add(slab.subarray(0, data.length), slab);
      return;
    }
    // A slice keeps the whole chunk it was read in alive.
    this.#add(data.buffer.byteLength > data.length * 4 ? Buffer.from(data) : data, undefined);
  }

  #add(data: Buffer, slab: Buffer | undefined): void {
    this.#order.last += 1;
    this.#pieces.push({ seq: this.#order.last, data, slab });
  }
}
