/*
 * A program to be killed: takes the VM that its argument describes through its whole life by the library. What it fails with it says in a line of JSON.
 */
import { Vm, VmError } from '../../dist/index.js';

try {
  const vm = await Vm.create({ ...JSON.parse(process.argv[2] ?? '{}'), name: 'crash' });
  try {
    await vm.exec(['true']);
    await vm.pause();
    await vm.resume();
    await vm.stop();
  } finally {
    await vm.remove();
  }
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ code: error instanceof VmError ? error.code : 'UNTYPED', text: error.stack })}\n`,
  );
  process.exitCode = 1;
}
