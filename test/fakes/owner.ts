/*
 * A program for tests to kill: creates the VM that its first argument describes, says so in a line of JSON, and stays.
 * Before, it prints a line for every phase, so that it can be killed in the middle. With `close` as its second argument
 * it does not stay, but closes the VM and ends as a script does that forgets it; with `exit` or `throw` it ends with the VM open.
 */
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as VmOptions;
const then = process.argv[3];
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const vm = await Vm.create({
  ...options,
  onEvent: (event) => say({ phase: event.type === 'phase' ? event.phase : event.type }),
});
const { pid, folders } = await vm.inspect();
say({ name: vm.name, id: vm.id, pid, folders });
if (then === 'close') await vm.close();
else if (then === 'exit') process.exit(3);
else if (then === 'throw') throw new Error('a mistake of the user: not a failure of the test');
else setInterval(() => undefined, 60_000);
