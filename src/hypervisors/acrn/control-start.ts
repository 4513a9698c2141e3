import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';

/*
 * acrn-dm has no word for "it runs", and its monitor answers before the guest is made. What tells is the thread that serves the
 * guest: it is made last, waits for the guest's requests as long as the guest is there, and ends at once when the hypervisor
 * refuses to start it, while the process lives on: then its first thread waits for events, and nobody serves a guest. Nothing tells
 * of a thread's coming and going, so it is looked for.
 */

/** Name of the thread that serves the guest's requests, for all its vCPUs. */
const serverThread = 'vcpu 0';

/** Milliseconds between two looks. */
const pauseMs = 20;

/** In how many looks it must be found waiting, or missing. What the hypervisor refuses it refuses in less than one pause. */
const looks = 5;

/** epoll_wait and epoll_pwait on x86-64, as /proc/PID/syscall begins: acrn-dm waits so in its main loop, and nowhere before. */
const waitsForEvents = /^(232|281) /;

/** Whether a guest is being served. */
export async function isServed(pid: number): Promise<boolean> {
  return (await findServer(pid)) !== undefined;
}

/**
 * Resolves when the hypervisor has started the guest.
 * @throws {VmError} START_FAILED when it refused, ABORTED
 */
export async function served(pid: number, call: CallOptions): Promise<void> {
  for (let waiting = 0, missing = 0; waiting < looks;) {
    call.signal?.throwIfAborted();
    const inMainLoop = await isInMainLoop(pid);
    const server = await findServer(pid);
    if (server !== undefined && (await isAsleep(pid, server))) waiting++;
    missing = inMainLoop && server === undefined ? missing + 1 : 0;
    if (missing === looks) throw refused();
    await delay(pauseMs, undefined, { signal: call.signal });
  }
}

/** The hypervisor did not start a guest that acrn-dm made. */
export function refused(): VmError {
  return new VmError('START_FAILED', 'the hypervisor refused to start the guest, or has ended it; acrn-dm lives on', {
    advice: 'See the log of the hypervisor (`hvlog`, or its console).',
  });
}

async function findServer(pid: number): Promise<string | undefined> {
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const name = await readFile(`/proc/${pid}/task/${thread}/comm`, 'utf8').catch(() => '');
    if (name.trim() === serverThread) return thread;
  }
  return undefined;
}

async function isAsleep(pid: number, thread: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => '');
  return /\) S /.test(stat);
}

/** Whoever may start acrn-dm may read this; elsewhere a guest that is refused is told when its time is over. */
async function isInMainLoop(pid: number): Promise<boolean> {
  return waitsForEvents.test(await readFile(`/proc/${pid}/syscall`, 'utf8').catch(() => ''));
}
