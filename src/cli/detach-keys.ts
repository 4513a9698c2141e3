import { InvalidArgumentError } from 'commander';

/** Bytes that a list of keys in docker's writing stands for, such as `ctrl-p,ctrl-q` or `ctrl-],d`. */
export function parseDetachKeys(text: string): Buffer {
  const bytes = text.split(',').map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    // A terminal sends a letter's code without its upper bits (ascii(7)).
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    return /^[!-~]$/.test(key) ? key.charCodeAt(0) : undefined;
  });
  if (bytes.every((byte) => byte !== undefined)) return Buffer.from(bytes);
  throw new InvalidArgumentError(
    'Write keys such as ctrl-p,ctrl-q: single characters, or ctrl- and one of a-z @ [ \\ ] ^ _.',
  );
}

/** Looks for the keys that detach in what is typed. */
export class DetachKeys {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }

  /**
   * Takes what was typed. Keys that may be the beginning of the sequence are held back until the next ones say so.
   * @returns what to send on, and whether the sequence is complete; what follows it is dropped
   */
  take(typed: Buffer): { send: Buffer; detach: boolean } {
    const send: number[] = [];
    for (const byte of typed) {
      while (this.#matched > 0 && byte !== this.#keys[this.#matched]) this.#release(send);
      if (byte !== this.#keys[this.#matched]) send.push(byte);
      else if (++this.#matched === this.#keys.length) return { send: Buffer.from(send), detach: true };
    }
    return { send: Buffer.from(send), detach: false };
  }

  /** Sends the first held key on, and goes on with the longest beginning that the others may still be. */
  #release(send: number[]): void {
    const held = this.#keys.subarray(0, this.#matched);
    let length = held.length - 1;
    while (!held.subarray(held.length - length).equals(this.#keys.subarray(0, length))) length--;
    send.push(...held.subarray(0, held.length - length));
    this.#matched = length;
  }
}
