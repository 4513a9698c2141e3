// Makes a template of the mock, telling its phases as lines of JSON; with an operation it never gets further than that one.
import { Vm } from '../../src/sandbox/vm.ts';

const [operation] = process.argv.slice(2);
await Vm.template({
  hypervisor: 'mock',
  memoryMiB: 64,
  name: 'half-made',
  hypervisorParams: operation === undefined ? [] : [{ key: 'hang', value: operation }],
  onEvent: (event) =>
    void process.stdout.write(`${JSON.stringify({ phase: event.type === 'phase' ? event.phase : '' })}\n`),
  setup: async () => void process.stdout.write('{"phase":"set-up"}\n'),
});
