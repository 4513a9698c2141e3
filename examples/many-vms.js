// Shares work out among several VMs that run at the same time, and tells what happens to them and what they use.
//
//   node examples/many-vms.js [NUMBER]
import { Vm } from 'polyvisor';

const began = new Date();
const count = Number(process.argv[2] ?? 3);
const work = Array.from({ length: count * 2 }, (_, number) => `echo job ${number} done by $(hostname)`);

const results = await Promise.all(
  Array.from({ length: count }, (_, number) => worker(`worker-${process.pid}-${number}`)),
);
console.log(results.flat().toSorted().join('\n'));

/**
 * Takes jobs until there are none left.
 * @param {string} name
 */
async function worker(name) {
  const vm = await Vm.create({ name, vcpus: 1, memoryMiB: 192 });
  try {
    const lines = [];
    for (let job = work.shift(); job !== undefined; job = work.shift()) {
      const { stdout } = await vm.exec(job, { check: true });
      lines.push(stdout.trim());
    }
    const { vmm, guest } = await vm.statistics();
    const memoryMiB = Math.round(vmm.residentBytes / 2 ** 20);
    console.log(
      `${name}: ${vmm.cpuTimeMs} ms of CPU time, ${memoryMiB} MiB; its guest is up for ${guest?.uptimeMs} ms`,
    );
    await vm.stop();
    console.log(`${name}: ${(await storyOf(vm)).join(', ')}`);
    return lines;
  } finally {
    await vm.remove();
  }
}

/**
 * All that happened to a VM until it ended, whichever process did it.
 * @param {Vm} vm
 */
async function storyOf(vm) {
  const names = [];
  for await (const { event } of vm.events({ since: began })) {
    names.push(event);
    if (event === 'ended') break;
  }
  return names;
}
