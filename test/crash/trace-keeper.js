/*
 * Preloaded (`node --import`) into an owner: it has its keeper traced by strace, with the words of CRASH_KEEPER, from its first call.
 * The keeper stands still until strace holds it. strace is no part of it and has none of its descriptors, which would keep
 * the lease from ending.
 */
import childProcess from 'node:child_process';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const words = JSON.parse(process.env['CRASH_KEEPER'] ?? '[]');
delete process.env['CRASH_KEEPER'];
const { spawn } = childProcess;

childProcess.spawn = (file, argv, options) => {
  if (!argv?.includes('polyvisor-keeper')) return spawn(file, argv, options);
  const keeper = spawn(file, ['-c', 'kill -STOP $$; exec "$0" "$@"', file, ...argv], options);
  traceWhenStopped(keeper.pid);
  return keeper;
};
syncBuiltinESMExports();

function traceWhenStopped(pid) {
  if (!readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') T ')) {
    setTimeout(traceWhenStopped, 2, pid);
    return;
  }
  const strace = spawn('strace', [...words, '-p', `${pid}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  strace.stderr.once('data', () => process.kill(pid, 'SIGCONT'));
  strace.stderr.unref();
  strace.unref();
}
