import { VmError } from '../errors.ts';

/** One parameter of a kernel command line or of a VMM; either part may be empty. */
export interface Param {
  readonly key: string;
  readonly value: string;
}

/**
 * The parameters with one more at the end; the list given stays as it is.
 * @throws {VmError} INVALID_CONFIG when the key is empty
 */
export function addKernelParam(params: readonly Param[], param: Param): Param[] {
  if (param.key === '') {
    throw new VmError('INVALID_CONFIG', 'Empty kernel parameter: its key is missing', { field: 'kernelParams' });
  }
  return [...params, param];
}

/**
 * Parameters as words, as virtcontainers writes them: `key<delim>value`; only the key or the value when the other is
 * empty; nothing when both are. Without a delimiter key and value become two words.
 */
export function serializeParams(params: readonly Param[], delim: string): string[] {
  return params.flatMap(({ key, value }) => {
    const parts = [key, value].filter((part) => part !== '');
    return parts.length === 2 && delim !== '' ? [parts.join(delim)] : parts;
  });
}

/** Words as parameters: split at the first `=`; empty words are left out; no `=` means an empty value. */
export function deserializeParams(words: readonly string[]): Param[] {
  return words
    .filter((word) => word !== '')
    .map((word) => {
      const at = word.indexOf('=');
      return at < 0 ? { key: word, value: '' } : { key: word.slice(0, at), value: word.slice(at + 1) };
    });
}

/** Words of a kernel command line: blanks inside double quotes separate nothing, as in the kernel's own parser. */
export function kernelWords(text: string): string[] {
  return text.match(/(?:"[^"]*"?|[^\s"])+/g) ?? [];
}
