import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { VmError } from '../errors.ts';

const run = promisify(execFile);

/**
 * Binds a thread to CPUs of the host (util-linux' taskset: Node has no call for it).
 * @throws {VmError} INVALID_ARGUMENT when the host has none of these CPUs, PERMISSION, HOST_MISSING
 */
export async function pinThread(thread: number, cpus: readonly number[]): Promise<void> {
  if (cpus.length === 0 || !cpus.every((cpu) => Number.isInteger(cpu) && cpu >= 0))
    throw new VmError('INVALID_ARGUMENT', `CPUs are numbers from 0 on, not ${JSON.stringify(cpus)}`, { field: 'cpus' });
  await schedule('taskset', ['-p', '-c', cpus.join(','), String(thread)], `CPUs ${cpus.join(', ')} of this host`);
}

/**
 * Gives a thread the lowest real-time priority (SCHED_FIFO). Its host allows that to root, and to users with an rtprio limit.
 * @returns false when the host does not allow it
 * @throws {VmError} HOST_MISSING
 */
export async function makeRealtime(thread: number): Promise<boolean> {
  try {
    await schedule('chrt', ['-f', '-p', '1', String(thread)], 'real-time priority');
    return true;
  } catch (error) {
    if (VmError.from(error).code === 'PERMISSION') return false;
    throw error;
  }
}

async function schedule(program: 'taskset' | 'chrt', argv: readonly string[], what: string): Promise<void> {
  try {
    await run(program, argv, { timeout: 10_000, env: { ...process.env, LC_ALL: 'C' } });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      throw new VmError('HOST_MISSING', `${program} is not on this host`, {
        advice: 'Install util-linux.',
        cause: error,
      });
    }
    const refused = /not permitted/i.test(message);
    throw new VmError(refused ? 'PERMISSION' : 'INVALID_ARGUMENT', `a vCPU can't have ${what}`, {
      operation: 'schedule',
      cause: error,
    });
  }
}
