/*
 * Preloaded (`node --import`) into an owner: it has a keeper traced by strace, with the words of CRASH_KEEPER, from its first call: the first one
 * that it begins, or the one that CRASH_NTH counts from there.
 * The keeper stands still until strace holds it. strace is no part of it and has none of its descriptors, which would keep
 * the lease from ending.
 */
import childProcess from 'node:child_process';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const words = JSON.parse(process.env['CRASH_KEEPER'] ?? '[]');
let before = Number(process.env['CRASH_NTH'] ?? 0);
delete process.env['CRASH_KEEPER'];
delete process.env['CRASH_NTH'];
const { spawn } = childProcess;

childProcess.spawn = (file, argv, options) => {
  if (!argv?.includes('polyvisor-keeper') || before-- !== 0) return spawn(file, argv, options);
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
