import { type ErrorFacts, VmError } from '../errors.ts';

/** Where something stands in a file. */
export interface Place {
  readonly file: string;
  /** from 1 */
  readonly line: number;
  /** from 1, in UTF-16 units */
  readonly column: number;
}

/** `/etc/polyvisor/polyvisor.toml:3` */
export function placeText({ file, line }: Place): string {
  return `${file}:${line}`;
}

/** INVALID_CONFIG of something that stands in a file. */
export function wrongAt(place: Place, message: string, facts: ErrorFacts & { cause?: unknown } = {}): VmError {
  return new VmError('INVALID_CONFIG', `${placeText(place)}: ${message}`, {
    path: place.file,
    line: place.line,
    ...facts,
  });
}
