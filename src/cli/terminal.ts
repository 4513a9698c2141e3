import { spawnSync } from 'node:child_process';
import type { ReadStream, WriteStream } from 'node:tty';

/** The user's terminal while a guest's pseudo-terminal is shown on it. */
export interface Terminal {
  readonly size: { rows: number; cols: number };
  onResize(listener: (rows: number, cols: number) => void): void;
  /** Gives the terminal back as it was. May be called twice. */
  close(): void;
}

/** What a terminal without a size of its own is taken for. */
const fallbackSize = { rows: 24, cols: 80 };

/**
 * Takes the terminal over: keys go to the guest one by one, Ctrl-C included. It is given back however this process ends, but for SIGKILL.
 * @param input put into raw mode when it is a terminal; undefined when nothing is read from it
 */
export function openTerminal(input: ReadStream | undefined, output: WriteStream): Terminal {
  const raw = input?.isTTY === true && !input.isRaw;
  const restore = (): void => {
    // Fails when the terminal has been hung up: then there is nothing to give back.
    if (raw) input.setRawMode(false);
  };
  if (raw) {
    process.once('exit', restore);
    input.setRawMode(true);
    // Node's raw mode leaves the terminal adding a carriage return to each line feed, but the guest's terminal has done that
    // already, and full-screen programs mean a line feed alone. Without stty(1) that is what they get.
    spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
  }
  const size = (): { rows: number; cols: number } => {
    const { rows, columns } = output;
    return rows > 0 && columns > 0 ? { rows, cols: columns } : fallbackSize;
  };
  let listener: (() => void) | undefined;
  return {
    get size() {
      return size();
    },
    onResize: (resized) => {
      listener = (): void => resized(size().rows, size().cols);
      output.on('resize', listener);
    },
    close: () => {
      if (listener !== undefined) output.off('resize', listener);
      process.off('exit', restore);
      restore();
    },
  };
}
