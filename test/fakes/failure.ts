import { VmError } from '../../src/errors.ts';

/** The error that a call fails with. @throws when it succeeds, or fails with anything but a VmError */
export async function failure(call: PromiseLike<unknown>): Promise<VmError> {
  let value: unknown;
  try {
    value = await call;
  } catch (error) {
    if (error instanceof VmError) return error;
    throw new Error(`no VmError: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
  }
  throw new Error(`the call succeeded: ${JSON.stringify(value)}`);
}

/** The code of the error that a call fails with. */
export async function codeOf(call: PromiseLike<unknown>): Promise<string> {
  return (await failure(call)).code;
}
