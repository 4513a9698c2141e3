import { VmError } from '../errors.ts';

export const confinementLevels = ['strict', 'best', 'off'] as const;
/**
 * How a VMM is confined. `strict`: by every measure, or it isn't started; `best`: by what this host allows, and what is
 * missing is said; `off`: as an ordinary program of the user.
 */
export type ConfinementLevel = (typeof confinementLevels)[number];

/** @throws {VmError} INVALID_ARGUMENT */
export function parseConfinementLevel(value: unknown): ConfinementLevel {
  const level = confinementLevels.find((known) => known === value);
  if (level !== undefined) return level;
  throw new VmError(
    'INVALID_ARGUMENT',
    `confinement must be ${confinementLevels.join(', ')}, not ${JSON.stringify(value)}`,
    { field: 'confinement' },
  );
}
