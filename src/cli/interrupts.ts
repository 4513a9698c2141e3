import { constants } from 'node:os';
import { VmError } from '../errors.ts';

const watched = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type Watched = (typeof watched)[number];

/**
 * What SIGINT, SIGTERM and SIGHUP do while a VM is held. While a command runs in the guest, the first INT or TERM goes to it; a
 * second one, any when no command runs, and HUP (nobody is left to send a second one) end all by aborting `signal`. One more after
 * that ends this process at once: an owned VM dies with it.
 */
export class Interrupts {
  readonly #controller = new AbortController();
  #forward: ((signal: Watched) => void) | undefined;
  #forwarded = false;
  #endedBy: Watched | undefined;

  constructor() {
    for (const signal of watched) process.on(signal, this.#receive);
  }

  /** Aborted when all is to be ended. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128+n once a signal has ended all. */
  get exitCode(): number | undefined {
    return this.#endedBy === undefined ? undefined : 128 + constants.signals[this.#endedBy];
  }

  /** Sends the next signal to a guest's command; undefined when there is none any more. */
  forwardTo(command: ((signal: Watched) => void) | undefined): void {
    this.#forward = command;
    this.#forwarded = false;
  }

  /** For output that has no end of its own: all is ended, too, when nobody reads it any more. The stream's other listeners tell of that. */
  endWithReader(): void {
    process.stdout.once('error', this.#unread);
  }

  close(): void {
    for (const signal of watched) process.off(signal, this.#receive);
    process.stdout.off('error', this.#unread);
  }

  readonly #unread = (): void => {
    this.#controller.abort(new VmError('ABORTED', 'nobody reads the output'));
  };

  readonly #receive = (signal: Watched): void => {
    if (this.#endedBy !== undefined) process.exit(this.exitCode);
    if (this.#forward !== undefined && !this.#forwarded && signal !== 'SIGHUP') {
      this.#forwarded = true;
      this.#forward(signal);
      return;
    }
    this.#endedBy = signal;
    this.#controller.abort(new VmError('ABORTED', `ended by ${signal}`));
  };
}

/** Does work that signals may end: then the process exits with 128+n, and silently. */
export async function interruptible(work: (interrupts: Interrupts) => Promise<void>): Promise<void> {
  const interrupts = new Interrupts();
  try {
    await work(interrupts);
  } catch (error) {
    if (!interrupts.signal.aborted || !(error instanceof VmError && error.code === 'ABORTED')) throw error;
  } finally {
    interrupts.close();
    if (interrupts.exitCode !== undefined) process.exitCode = interrupts.exitCode;
  }
}
