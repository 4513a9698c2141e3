import { expect, test } from 'vitest';
import { isValidName, validateName } from '../../../src/config/names.ts';
import { errorOf } from './fixture.ts';

test.each(['a', '0', 'build-42', 'A_b-c', 'x'.repeat(63)])('%s is a name', (name) => {
  expect(validateName(name)).toBe(name);
  expect(isValidName(name)).toBe(true);
});

const bad = ['', '-a', '_a', '.', '..', 'a.b', 'a/b', '/a', 'a b', 'a\n', 'é', 'x'.repeat(64), 'x'.repeat(200), 'a\0'];

test.each([...bad, 3, null, undefined])('%j is no name', (name) => {
  const error = errorOf(() => validateName(name));
  expect(error.code).toBe('INVALID_NAME');
  expect(error.facts.field).toBe('name');
  expect(error.message).toContain('letters, digits');
  expect(error.message.length).toBeLessThan(300);
  expect(error.message).not.toMatch(/\p{Cc}/u);
  expect(isValidName(name)).toBe(false);
});
