import type { Output } from './output.ts';

const FIRST_BLOCK_BYTES = 4096;
const LAST_BLOCK_BYTES = 1024 * 1024;

/** Takes all of an output, up to a limit. Copies into growing blocks, so that many small pieces cost no more than few large ones. */
export class Collector {
  readonly #blocks: Buffer[] = [];
  #block: Buffer = Buffer.alloc(0);
  #used = 0;
  #total = 0;
  #over = false;

  /**
   * @param limit most bytes that are kept
   * @param onOver called once, when more than that has come
   */
  constructor(output: Output, limit: number, onOver: () => void) {
    const drain = (): void => {
      for (let data = output.take(); data !== undefined; data = output.take()) {
        const kept = Math.min(data.length, limit - this.#total);
        this.#add(data, kept);
        this.#total += kept;
        if (kept === data.length || this.#over) continue;
        this.#over = true;
        onOver();
      }
    };
    drain();
    output.listen(drain);
  }

  /** What was collected. */
  bytes(): Buffer {
    const last = this.#block.subarray(0, this.#used);
    return this.#blocks.length === 0 ? last : Buffer.concat([...this.#blocks, last], this.#total);
  }

  #add(data: Buffer, end: number): void {
    let at = 0;
    while (at < end) {
      if (this.#used === this.#block.length) this.#grow(end - at);
      const copied = data.copy(this.#block, this.#used, at, end);
      this.#used += copied;
      at += copied;
    }
  }

  #grow(wanted: number): void {
    if (this.#used > 0) this.#blocks.push(this.#block);
    const size = Math.max(FIRST_BLOCK_BYTES, Math.min(LAST_BLOCK_BYTES, Math.max(this.#block.length * 2, wanted)));
    this.#block = Buffer.allocUnsafeSlow(size);
    this.#used = 0;
  }
}
