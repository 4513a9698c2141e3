import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { close } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../../errors.ts';
import { type ProcessIdentity, signalProcess } from '../../state/process-identity.ts';
import { keeperName } from './keeper.ts';
import { type Lease, makeLease } from './lease.ts';

/** A program that runs already and gets a keeper. */
export interface GuardOptions {
  program: ProcessIdentity;
  /** path of the FIFO that is made: `vmFiles.lease` */
  lease: string;
  /** the FIFO whose write end the program holds as long as it lives: `vmFiles.alive` */
  alive: string;
  /** run by the keeper, in our environment, after it ended the program because no owner was left */
  prune: readonly string[];
}

/*
 * The keeper of a program that is not its child. It learns nothing of how the program ends, only that it has: then it goes. Else it
 * goes with the lease: on `detach` or `end` it just goes; at end of file, when no owner is left, it ends the program and prunes.
 * It has two parts, since a shell can wait for one thing at a time: this one reads the lease, and its child the FIFO `alive`.
 * A process is told from a later one of its pid by its start time: field 22 of /proc/PID/stat, the 20th after the name.
 * Descriptor 4 is the lease's read end. Words: the program's pid and start time, the FIFO that tells its end, the prune command.
 */
const source = `
pid=$1 start=$2 alive=$3
shift 3
trap '' HUP INT TERM PIPE
# Opened for both ends first: a FIFO that nobody writes to would not be opened until someone does.
exec 5<>"$alive" 6<"$alive" 5>&-

started() {
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  set -- \${stat##*) }
  [ "$1" = Z ] || printf %s "\${20}"
}
lives() {
  [ "$(started "$pid")" = "$start" ]
}
silent() {
  while read -r word <&6; do :; done
}

# The program lets go of its files a moment before it is gone; one that closed them by itself lives on, and is kept as before.
# Killed: the lease is no way to tell the first part, as its name may be another keeper's by now.
self=$(started $$)
(
  exec 4<&-
  silent
  for pause in 0.02 0.1 0.3 1; do
    lives || break
    sleep "$pause"
  done
  if ! lives && [ "$(started $$)" = "$self" ]; then kill -KILL $$; fi
) &
watcher=$!
watching=$(started "$watcher")

order=
while read -r word <&4; do
  case $word in detach | end) order=$word; break ;; esac
done
exec 4<&-
# Before anything else: from here on this part sees to the end by itself.
if [ -n "$watching" ] && [ "$(started "$watcher")" = "$watching" ]; then kill -KILL "$watcher"; fi
[ -z "$order" ] || exit 0

if lives; then kill -KILL "$pid"; fi
silent
exec 6<&-
exec "$@"
`;
const guardScript = source.replaceAll(/^ *(?:#.*)?\n|^ +/gm, '');

/**
 * Gives a program that lives without an owner a keeper, and us its lease: from then on the program ends with this process, or with
 * the last that joins the lease. Make sure beforehand that no keeper reads the lease.
 * @throws {VmError} HOST_MISSING, IO, START_FAILED
 */
export async function guard({ program, lease: at, alive, prune }: GuardOptions): Promise<Lease> {
  const { lease, readEnd } = await makeLease(at);
  try {
    const told = [`${program.pid}`, `${program.startTime}`, path.basename(alive)];
    const keeper = spawn('/bin/sh', ['-c', guardScript, keeperName, ...told, ...prune], {
      // The VM's folder, which may get another name.
      cwd: path.dirname(alive),
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ignore', readEnd],
    });
    keeper.once('exit', (code) => {
      // It goes with 0 when it was told to. Else the program is gone, or someone killed the keeper: a program that nobody guards
      // must not outlive its owner.
      if (code !== 0 && lease.held) signalProcess(program, 'SIGKILL');
      void lease.release();
    });
    await once(keeper, 'spawn');
    keeper.unref();
    return lease;
  } catch (error) {
    await lease.release();
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('START_FAILED', `can't start a keeper: ${message}`, { errno: code, cause: error });
  } finally {
    await promisify(close)(readEnd);
  }
}
