import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { hypervisorTypes } from '../../../src/config/hypervisor-type.ts';
import { driverTypes, loadDriver } from '../../../src/hypervisors/registry.ts';
import { failure } from '../../fakes/failure.ts';

const folder = fileURLToPath(new URL('../../../src/hypervisors/', import.meta.url));

const folders = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

it('has a driver for every folder of a VMM, under its own name', async () => {
  expect(driverTypes().toSorted()).toEqual(
    folders.map((name) => (name === 'cloud-hypervisor' ? 'clh' : name)).toSorted(),
  );
  for (const type of driverTypes()) expect((await loadDriver(type)).type).toBe(type);
});

it.each(folders)('the folder %s has the files that every VMM has', (name) => {
  // Larger ones are split, as `plan-memory.ts` is.
  const parts = [
    'capabilities',
    'control',
    'devices',
    'driver',
    'errors',
    'fields',
    'index',
    'plan',
    'probe',
    'state',
    'wire',
  ];
  expect(readdirSync(`${folder}${name}`)).toEqual(
    expect.arrayContaining(['README.md', ...parts.map((part) => `${part}.ts`)]),
  );
  const others = readdirSync(`${folder}${name}`).filter((file) => !parts.some((part) => file.startsWith(part)));
  expect(others.filter((file) => file !== 'README.md')).toEqual([]);
});

it.each(hypervisorTypes.filter((type) => !driverTypes().includes(type)))(
  '%s is UNSUPPORTED, with those that are there',
  async (type) => {
    const error = await failure(loadDriver(type));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', facts: { hypervisor: type } });
    for (const known of driverTypes()) expect(error.advice).toContain(known);
  },
);
