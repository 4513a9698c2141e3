import { describe, expect, it } from 'vitest';
import { operations, requireSupport } from '../../../src/hypervisors/capabilities.ts';
import { deviceKinds } from '../../../src/hypervisors/device.ts';
import { driverTypes, loadDriver } from '../../../src/hypervisors/registry.ts';
import { matrix } from './matrix.ts';

describe.each(driverTypes())('%s', (type) => {
  it('does all that the matrix asks of it', async () => {
    const { capabilities } = await loadDriver(type);
    const lacking = matrix
      .filter(({ cells, support }) => cells[type] === 'W' && support(capabilities) !== true)
      .map(({ what }) => what);
    expect(lacking).toEqual([]);
  });

  it('says why of everything that it does not do, as the end of a sentence', async () => {
    const { capabilities } = await loadDriver(type);
    const reasons = [
      ...Object.values(capabilities.operations),
      ...Object.values(capabilities.devices).flatMap((when) => Object.values(when)),
      capabilities.agent,
      capabilities.sharedMemory,
      capabilities.isolation,
    ].filter((support) => support !== true);
    for (const reason of reasons) expect(reason).toMatch(/^[^.]{10,}[^.]$/);
  });

  it('names every operation and every device', async () => {
    const { capabilities } = await loadDriver(type);
    expect(Object.keys(capabilities.operations).toSorted()).toEqual([...operations].toSorted());
    expect(Object.keys(capabilities.devices).toSorted()).toEqual([...deviceKinds].toSorted());
  });

  it('has a method for each operation that it says it can do, and none that it denies', async () => {
    const module = await loadDriver(type);
    const { contextFor } = await import('./fixture.ts');
    const driver = module.driver(contextFor(module)) as unknown as Record<string, unknown>;
    for (const operation of operations) {
      // These two are answered by the lifecycle itself.
      if (operation === 'capabilities' || operation === 'config') continue;
      const declared = module.capabilities.operations[operation] === true;
      expect([operation, typeof driver[operation] === 'function']).toEqual([operation, declared]);
    }
  });
});

it('a refusal names operation, VMM and reason', () => {
  expect(() => requireSupport('clh', 'save', true)).not.toThrow();
  expect(() => requireSupport('clh', 'save', 'it rains')).toThrow(
    'UNSUPPORTED: save is not supported on clh: it rains',
  );
});
