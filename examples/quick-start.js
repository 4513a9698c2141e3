// Boots a VM, runs two commands in it, and removes it.
//
//   node examples/quick-start.js
import { Vm } from 'polyvisor';

const vm = await Vm.create({ vcpus: 1, memoryMiB: 256 });
try {
  // Awaited, a command gives its whole result. A non-zero exit code is a result, too.
  const { stdout, exitCode } = await vm.exec(['uname', '-sm']);
  console.log(`the guest is ${stdout.trim()} (exit code ${exitCode})`);

  // Iterated, it gives its output as it comes; a string is run by the guest's shell.
  for await (const { stream, data } of vm.exec('for i in 1 2 3; do echo "line $i"; done')) {
    process.stdout.write(`${stream}: ${data.toString()}`);
  }
} finally {
  await vm.remove();
}
