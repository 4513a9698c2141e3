import { VmError } from '../errors.ts';
import { show } from './show.ts';

/** The rule for VM names, as a sentence for messages and docs. */
export const NAME_RULE = 'letters, digits, "_" and "-", starting with a letter or digit, at most 63 characters';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/;

/** Whether the text can be the name of a VM: see {@link NAME_RULE}. */
export function isValidName(name: unknown): name is string {
  return typeof name === 'string' && namePattern.test(name);
}

/**
 * Returns the name unchanged when it can be the name of a VM. Names become file names, so dots and slashes are out.
 * @throws {VmError} INVALID_NAME when it breaks the rule
 */
export function validateName(name: unknown): string {
  if (isValidName(name)) return name;
  throw new VmError('INVALID_NAME', `Invalid VM name ${show(name)}: a name is ${NAME_RULE}`, {
    field: 'name',
    advice: 'Use a name such as build-42.',
  });
}
