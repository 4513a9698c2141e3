// Runs code that nobody has read, as an ordinary user of a VM without a network, within limits on time, memory, processes and output.
//
//   node examples/untrusted-code.js
import { Vm, VmError } from 'polyvisor';

/** Limits of one run. */
const limits = { timeoutMs: 3000, maxMemoryMiB: 32, maxPids: 20, maxOutputBytes: 64 * 1024 };

const programs = {
  'a friendly one': 'echo "2 + 2 = $((2 + 2))"; id -un',
  'one that never ends': 'while :; do :; done',
  'one that eats all memory': 'tail /dev/zero',
  'one that writes for ever': 'yes',
  'one that reads what it may not': 'cat /etc/polyvisor/modules > /root/copy',
};

const vm = await Vm.create({ vcpus: 1, memoryMiB: 256 });
try {
  for (const [what, program] of Object.entries(programs)) console.log(`${what}: ${await outcomeOf(program)}`);
} finally {
  await vm.remove();
}

/**
 * How a program ended, in words.
 * @param {string} program
 */
async function outcomeOf(program) {
  try {
    const { exitCode, oomKilled, stdout, stderr } = await vm.exec(program, { user: 'user', cwd: '/tmp', ...limits });
    if (oomKilled) return 'it ran out of its memory';
    return `exit code ${exitCode}, ${JSON.stringify(stdout || stderr)}`;
  } catch (error) {
    if (error instanceof VmError && error.code === 'TIMEOUT') return 'its time was over';
    if (error instanceof VmError && error.code === 'OUTPUT_LIMIT') return 'it wrote too much';
    throw error;
  }
}
