import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { VmError } from '../../errors.ts';

/*
 * A VM's keeper clears up when its owner dies, but a VM that has ended has none any more, nor one that is being cleared up.
 * For that time this small shell process stands in: the kernel closes its stdin when we die, SIGKILL included, and it becomes the
 * prune command. One is enough for a process, however many VMs it makes.
 */
const source = `
trap '' HUP INT TERM PIPE
read -r word
[ "$word" = over ] || exec "$@"
`;

let holders = 0;
let watching: Promise<ChildProcess> | undefined;

/** A share in this process's watch. */
export interface WatchShare {
  /** Gives it back; with the last one the watch ends without running anything. May be repeated. */
  end(): Promise<void>;
}

/**
 * From now on the command is run, in our environment, if this process dies before it gives its share back.
 * @throws {VmError} START_FAILED
 */
export async function watchOwner(command: readonly string[]): Promise<WatchShare> {
  holders++;
  watching ??= startWatch(command);
  const mine = watching;
  try {
    await mine;
  } catch (error) {
    holders--;
    if (watching === mine) watching = undefined;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('START_FAILED', `can't start /bin/sh: ${message}`, { errno: code, cause: error });
  }
  let held = true;
  return {
    async end() {
      if (!held) return;
      held = false;
      holders--;
      if (holders > 0) return;
      watching = undefined;
      await endWatch(await mine);
    },
  };
}

async function startWatch(command: readonly string[]): Promise<ChildProcess> {
  const child = spawn('/bin/sh', ['-c', source, 'polyvisor-watch', ...command], {
    cwd: '/',
    // A session of its own: no terminal's signals.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Somebody may have killed it: there is nobody to tell then.
  child.stdin?.on('error', () => undefined);
  await once(child, 'spawn');
  child.unref();
  // A pipe of a child is a socket, which Node's types don't say.
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return child;
}

async function endWatch(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const gone = once(child, 'exit');
  child.stdin?.end('over\n');
  await gone;
}
