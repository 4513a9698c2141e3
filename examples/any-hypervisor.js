// The same program on whichever VMM is named: nothing in it knows which one that is.
//
//   node examples/any-hypervisor.js [qemu|firecracker|clh|acrn|mock [PROGRAM]]
import { Vm, VmError } from 'polyvisor';

const [hypervisor = 'qemu', hypervisorPath] = process.argv.slice(2);

// `best`: as much confinement as host and VMM allow. ACRN's device model needs root, and `strict` refuses that.
const vm = await Vm.create({
  hypervisor: known(hypervisor),
  vcpus: 1,
  memoryMiB: 256,
  confinement: 'best',
  ...(hypervisorPath === undefined ? {} : { hypervisorPath }),
});
try {
  const { stdout } = await vm.exec(['uname', '-s']);
  console.log(`a command ran on ${stdout.trim()}`);
  console.log(`pause and resume: ${await outcomeOf(() => vm.pause().then(() => vm.resume()))}`);
  console.log(`afterwards: ${(await vm.exec(['echo', 'still here'])).stdout.trim()}`);
} finally {
  await vm.remove();
}

/**
 * What a VMM can't do rejects with the code UNSUPPORTED and the reason; nothing else of the program has to change.
 * @param {() => Promise<void>} action
 */
async function outcomeOf(action) {
  try {
    await action();
    return 'done';
  } catch (error) {
    if (error instanceof VmError && error.code === 'UNSUPPORTED') return 'not on this VMM';
    throw error;
  }
}

/** @param {string} name */
function known(name) {
  for (const type of /** @type {const} */ (['qemu', 'firecracker', 'clh', 'acrn', 'mock']))
    if (type === name) return type;
  throw new Error(`${name} is none of polyvisor's hypervisors`);
}
