import { VmError } from '../../errors.ts';
import { deferred, type Deferred } from '../deferred.ts';
import { encodeFrame } from './frames.ts';
import { Fields } from './fields.ts';
import { parseError, type Session, type StreamHandler } from './session.ts';
import { violation } from './violation.ts';
import { FrameType } from './wire.ts';

const ENOSYS = 38;

/** A request that DONE or ERROR answers. Its stream stays open until then, though nobody may wait for it any more. */
class Request implements StreamHandler {
  readonly answer: Deferred<Fields> = deferred();
  readonly #operation: string;

  constructor(operation: string) {
    this.#operation = operation;
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.DONE) this.answer.resolve(new Fields(payload));
    else if (type === FrameType.ERROR) this.#onError(payload);
    else throw violation(`a frame of type 0x${type.toString(16)} in answer to a request`);
  }

  onGone(error: VmError): void {
    this.answer.reject(
      new VmError(error.code, error.rawMessage, { ...error.facts, operation: this.#operation, cause: error }),
    );
  }

  #onError(payload: Buffer): void {
    const { number, errno, message } = parseError(payload);
    const code = number === ENOSYS ? 'UNSUPPORTED' : 'AGENT_FAILED';
    const text = `the guest agent refused ${this.#operation}: ${message}`;
    this.answer.reject(new VmError(code, text, { operation: this.#operation, errno }));
  }
}

/**
 * Sends a request; settles with the fields of its answer.
 * @throws {VmError} UNSUPPORTED, AGENT_FAILED, AGENT_GONE, AGENT_PROTOCOL, BUSY
 */
export async function request(session: Session, operation: string, type: FrameType, payload?: Buffer): Promise<Fields> {
  const handler = new Request(operation);
  const id = session.open(handler);
  session.send(encodeFrame(type, id, payload));
  return await handler.answer.promise;
}
