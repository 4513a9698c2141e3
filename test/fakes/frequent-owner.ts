/*
 * A program for tests to kill: makes VMs one after the other until the next one is staged ahead, says so in a line of JSON, and stays;
 * with `end` or `exit` as its argument it ends then, by itself or at once.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';

for (let vms = 0; vms < 2; vms++) {
  const vm = await Vm.create({ hypervisor: 'mock' });
  await vm.remove();
}
while (!readdirSync(places().vms).some((name) => name.startsWith('.new-'))) await sleep(1);
process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
if (process.argv[2] === 'exit') process.exit();
if (process.argv[2] !== 'end') setInterval(() => undefined, 60_000);
