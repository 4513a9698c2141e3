/*
 * A program for tests to kill: takes the VM that its first argument names into its ownership, says so in a line of JSON, and stays.
 */
import { Vm } from '../../src/sandbox/vm.ts';

const vm = await Vm.connect(process.argv[2] ?? '', { own: true });
const { pid, folders } = await vm.inspect();
process.stdout.write(`${JSON.stringify({ name: vm.name, id: vm.id, pid, folders })}\n`);
setInterval(() => undefined, 60_000);
