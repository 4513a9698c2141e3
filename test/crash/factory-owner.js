/*
 * A program to be killed: makes a template of the mock, a clone of it and a fork of that one, and removes all of them. What it fails with it says in a
 * line of JSON.
 */
import { Vm, VmError } from '../../dist/index.js';

try {
  const template = await Vm.template({ hypervisor: 'mock', memoryMiB: 64, name: 'crash', memory: 'disk' });
  try {
    const vm = await template.clone();
    try {
      const [fork] = await vm.fork(1);
      await fork.remove();
    } finally {
      await vm.remove();
    }
  } finally {
    await template.remove();
  }
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ code: error instanceof VmError ? error.code : 'UNTYPED', text: error.stack })}\n`,
  );
  process.exitCode = 1;
}
