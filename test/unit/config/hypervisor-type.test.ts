import { expect, test } from 'vitest';
import { hypervisorTypes, parseHypervisorType } from '../../../src/config/hypervisor-type.ts';
import { errorOf } from './fixture.ts';

test.each(hypervisorTypes)('%s is itself', (type) => {
  expect(parseHypervisorType(type)).toBe(type);
});

test('cloud-hypervisor stands for clh', () => {
  expect(parseHypervisorType('cloud-hypervisor')).toBe('clh');
});

test.each(['x', '', 'QEMU', 'qemu ', '__proto__', 3, null, undefined, {}])('%j is unknown', (value) => {
  const error = errorOf(() => parseHypervisorType(value));
  expect(error.code).toBe('UNKNOWN_HYPERVISOR');
  expect(error.message).toContain('qemu, firecracker, clh, acrn, mock');
});

test('the message has the known wording, and no control characters', () => {
  expect(errorOf(() => parseHypervisorType('x')).message).toContain('Unknown hypervisor type x (');
  expect(errorOf(() => parseHypervisorType('a\u001B[2J')).message).toContain('Unknown hypervisor type a?[2J');
});
