import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { lock } from '../../state/lock.ts';
import { vmmFiles } from '../../state/paths.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { VmContext } from '../hypervisor.ts';
import { maxArgumentBytes, type MonitorCommand, parseAnswer } from './wire.ts';

/** Milliseconds until the monitor must have answered: it opens a file, and no more. */
const answerMs = 10_000;

/** Typed verbs over the command monitor of one acrn-dm. Each is a connection of its own, and the monitor serves one at a time. */
export class AcrnControl {
  readonly #context: VmContext;

  constructor(context: VmContext) {
    this.#context = context;
  }

  /** Resolves once the monitor takes connections; the guest does not run yet by then. */
  async ready(options: CallOptions = {}): Promise<void> {
    const stream = await connectUnix(this.#socket, { ...options, timeoutMs: options.timeoutMs ?? answerMs });
    stream.destroy();
  }

  /**
   * Puts a file into a disk that was started without one.
   * @param onUnanswered called before it fails without an answer: acrn-dm may have done it, or may do it later
   * @throws {VmError} VMM_FAILED when acrn-dm refuses, which it does without saying why; TIMEOUT when it does not answer
   */
  async insertDisk(
    slot: number,
    optionsOfFile: string,
    onUnanswered: () => void,
    options: CallOptions = {},
  ): Promise<void> {
    const words = `${slot},${optionsOfFile}`;
    if (Buffer.byteLength(words) > maxArgumentBytes)
      throw new VmError('INVALID_ARGUMENT', `acrn-dm takes ${maxArgumentBytes} bytes at most to swap a disk in`, {
        field: 'path',
        advice: 'Use a shorter path.',
      });
    if (await this.#send({ command: 'blkrescan', arguments: words }, onUnanswered, options)) return;
    throw new VmError('VMM_FAILED', `acrn-dm refused to put ${optionsOfFile} into slot ${slot}`, {
      operation: 'blkrescan',
      advice: 'Its size must be a multiple of 512 bytes. The reason is in `polyvisor logs --source vmm`.',
    });
  }

  async #send(command: MonitorCommand, onUnanswered: () => void, options: CallOptions): Promise<boolean> {
    const limit = options.timeoutMs ?? answerMs;
    const scope = callScope(`${command.command} in acrn-dm`, { signal: options.signal, timeoutMs: limit });
    const held = await lock(this.#context.stateFolder, 'monitor', { signal: scope.signal }).catch((error: unknown) => {
      scope.release();
      throw error;
    });
    try {
      const stream = await connectUnix(this.#socket, { signal: scope.signal, mustExist: true });
      try {
        stream.write(JSON.stringify(command));
        return await scope.race(answerOf(stream));
      } catch (error) {
        onUnanswered();
        throw error;
      } finally {
        stream.destroy();
      }
    } catch (error) {
      scope.throwIfEnded();
      throw error;
    } finally {
      scope.release();
      await held.release();
    }
  }

  get #socket(): string {
    return vmmFiles.monitorSocket(this.#context.runtimeFolder);
  }
}

async function answerOf(stream: AsyncIterable<Buffer>): Promise<boolean> {
  let text = '';
  try {
    for await (const chunk of stream) {
      text += chunk.toString('latin1');
      const answer = parseAnswer(text);
      if (answer !== undefined) return answer;
    }
  } catch (error) {
    if (error instanceof VmError) throw error;
    throw new VmError('VMM_GONE', 'the monitor of acrn-dm broke the connection', { cause: error });
  }
  throw new VmError('VMM_GONE', 'the monitor of acrn-dm closed the connection without an answer');
}
