/*
 * A program to be killed: takes VMs that its first argument describes, as many as its second one says, through their whole lives by the
 * library, one after the other. What it fails with it says in a line of JSON.
 */
import { Vm, VmError } from '../../dist/index.js';

try {
  for (let left = Number(process.argv[3]); left > 0; left--) {
    const vm = await Vm.create({ ...JSON.parse(process.argv[2] ?? '{}'), name: 'crash' });
    try {
      await vm.exec(['true']);
      await vm.pause();
      await vm.resume();
      await vm.stop();
    } finally {
      await vm.remove();
    }
  }
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ code: error instanceof VmError ? error.code : 'UNTYPED', text: error.stack })}\n`,
  );
  process.exitCode = 1;
}
