import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { hypervisorTypes } from '../../../src/config/hypervisor-type.ts';
import { driverTypes, loadDriver } from '../../../src/hypervisors/registry.ts';
import { failure } from '../../fakes/failure.ts';

const folder = fileURLToPath(new URL('../../../src/hypervisors/', import.meta.url));

it('has a driver for every folder of a VMM, under its own name', async () => {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(driverTypes().toSorted()).toEqual(
    folders.map(({ name }) => (name === 'cloud-hypervisor' ? 'clh' : name)).toSorted(),
  );
  for (const type of driverTypes()) expect((await loadDriver(type)).type).toBe(type);
});

it('every VMM has the same files', () => {
  const files = driverTypes().map((type) => readdirSync(`${folder}/${type}`).toSorted());
  for (const list of files) expect(list).toEqual(files[0]);
});

it.each(hypervisorTypes.filter((type) => !driverTypes().includes(type)))(
  '%s is UNSUPPORTED, with those that are there',
  async (type) => {
    const error = await failure(loadDriver(type));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', facts: { hypervisor: type } });
    for (const known of driverTypes()) expect(error.advice).toContain(known);
  },
);
