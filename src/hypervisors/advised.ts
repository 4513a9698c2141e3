import { VmError } from '../errors.ts';

/** A call to a VMM; what it refuses gets the advice that is known for its words. @throws {VmError} what the call throws */
export async function advised<T>(call: Promise<T>, adviceFor: (words: string) => string | undefined): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const found = VmError.from(error);
    const advice = found.code === 'VMM_FAILED' ? adviceFor(found.rawMessage) : undefined;
    if (advice === undefined) throw found;
    throw new VmError(found.code, found.rawMessage, { ...found.facts, advice, cause: found });
  }
}
