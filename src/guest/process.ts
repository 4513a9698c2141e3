import type { Writable } from 'node:stream';
import type { VmError } from '../errors.ts';
import type { ExecExit } from './agent.ts';
import type { Output } from './output.ts';

/** A process in a guest, as an agent's client offers it to the handle that users hold. Its promises never go unhandled. */
export interface GuestProcess {
  /** its pid; rejects when it could not be started */
  readonly started: Promise<number>;
  /** rejects when it could not be started, or was lost */
  readonly exited: Promise<ExecExit>;
  /** `exited` has settled, or is about to */
  readonly ended: boolean;
  readonly stdout: Output;
  readonly stderr: Output;
  /** there when input was asked for and was not sent with the start; destroyed when the process ends */
  readonly stdin: Writable | undefined;
  signal(number: number, tree: boolean): void;
  /** Asks for the end of the whole tree. Lets both outputs go. */
  cancel(): void;
  resize(rows: number, cols: number): void;
  /** Waits no longer: `exited` rejects with the error. */
  abandon(error: VmError): void;
}
