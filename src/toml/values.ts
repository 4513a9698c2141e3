import { show } from '../config/show.ts';
import type { TomlValue } from './document.ts';

/** The value as JavaScript has it; tables become objects. */
export function plain(value: TomlValue): unknown {
  if (value.kind === 'array') return value.value.map(plain);
  if (value.kind !== 'table') return value.value;
  const object: Record<string, unknown> = {};
  for (const { path, value: inner } of value.value) put(object, path, plain(inner));
  return object;
}

/** Sets a value in nested objects. Names are data: `__proto__` is a name like any other. */
export function put(object: Record<string, unknown>, [name = '', ...rest]: readonly string[], value: unknown): void {
  const own = (key: string, it: unknown): unknown =>
    Object.defineProperty(object, key, { value: it, enumerable: true, configurable: true, writable: true });
  if (rest.length === 0) {
    own(name, value);
    return;
  }
  const there = Object.hasOwn(object, name) ? object[name] : undefined;
  const inner = typeof there === 'object' && there !== null ? (there as Record<string, unknown>) : {};
  own(name, inner);
  put(inner, rest, value);
}

/** A value for messages. */
export function showToml(value: TomlValue): string {
  return value.kind === 'date' ? value.value : show(plain(value));
}
