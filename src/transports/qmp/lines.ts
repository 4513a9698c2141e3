/** Cuts a byte stream into lines. Bounded: a line that grows too long is reported, and nothing of it is kept. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * The lines that are complete with this chunk, without their ends (LF or CR LF).
   * @returns undefined when a line is longer than allowed: the stream is of no more use
   */
  push(chunk: Buffer): string[] | undefined {
    const lines: string[] = [];
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      if (this.#bytes + end > this.#maxBytes) return this.#overflow();
      const line = Buffer.concat([...this.#parts, rest.subarray(0, end)]).toString('utf8');
      this.#clear();
      lines.push(line.endsWith('\r') ? line.slice(0, -1) : line);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > 0) {
      this.#bytes += rest.length;
      if (this.#bytes > this.#maxBytes) return this.#overflow();
      this.#parts.push(rest);
    }
    return lines;
  }

  #overflow(): undefined {
    this.#clear();
  }

  #clear(): void {
    this.#parts = [];
    this.#bytes = 0;
  }
}
