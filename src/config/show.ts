const LONGEST = 80;

/**
 * A value as it appears in an error message: JSON where there is any, at most 80 characters, no control characters.
 * Never throws, whatever the value is.
 */
export function show(value: unknown): string {
  const text = asText(value).replaceAll(/\p{C}/gu, '?');
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
}

function asText(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
      return 'nothing';
    case 'bigint':
      return `${value}n`;
    case 'number':
      return String(value);
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    case 'string':
      return JSON.stringify(value.slice(0, 2 * LONGEST));
    default:
      return value === null ? 'null' : kindOf(value);
  }
}

// Objects are named, not printed: they may be huge, cyclic or full of getters.
function kindOf(value: unknown): string {
  if (typeof value === 'boolean') return String(value);
  try {
    return Array.isArray(value) ? `a list of ${value.length}` : 'an object';
  } catch {
    return 'an object';
  }
}
